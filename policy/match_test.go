package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"warder/policy"
	"warder/policy/pattern"
)

// compile compiles routes that are written one a line.
func compile(t testing.TB, routes ...string) *policy.Policy {
	t.Helper()
	p, err := tryCompile(routes...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryCompile(routes ...string) (*policy.Policy, error) {
	text := "version: 1\nroutes:\n"
	for _, r := range routes {
		text += "  - " + r + "\n"
	}
	return policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}}, nil)
}

// winner returns the id of the route that wins METHOD HOST PATH, "" for none.
func winner(t testing.TB, p *policy.Policy, request string) string {
	t.Helper()
	parts := strings.Split(request, " ")
	path, err := pattern.ParsePath(parts[2])
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	if route := p.Match(parts[0], parts[1], path); route != nil {
		return route.ID
	}
	return ""
}

// TestMatch: the most specific of the routes that match wins, whatever the order in
// the file.
func TestMatch(t *testing.T) {
	t.Parallel()
	routes := []string{
		// Hosts come before paths, paths before methods.
		`{id: any-host, match: "/h/**", public: true}`,
		`{id: all-below, match: {hosts: ["*.example.com"], paths: ["/h/{x}"]}, public: true}`,
		`{id: below-eu, match: {hosts: ["*.eu.example.com"], paths: ["/h/**"]}, public: true}`,
		`{id: exact-host, match: {hosts: [api.eu.example.com], paths: ["/h/one"]}, public: true}`,
		`{id: example, match: {hosts: [example.com], paths: ["/h/{x}/y"]}, public: true}`,
		`{id: six, match: {hosts: ["[2001:db8::1]"], paths: [/h]}, public: true}`,
		// Paths, segment by segment from the left.
		`{id: root, match: "/", public: true}`,
		`{id: tree, match: "/p/**", public: true}`,
		`{id: one, match: "/p/{x}", public: true}`,
		`{id: literal, match: "/p/lit", public: true}`,
		`{id: literal-tree, match: "/p/lit/**", public: true}`,
		`{id: left, match: "/q/lit/{y}", public: true}`,
		`{id: right, match: "/q/{x}/lit", public: true}`,
		`{id: deep-tree, match: "/r/a/b/**", public: true}`,
		`{id: param-end, match: "/r/{x}/b/c", public: true}`,
		`{id: escaped, match: "/caf%C3%A9/%7Bx%7D", public: true}`,
		`{id: slashes, match: "/s/a%2Fb", public: true, path_allows: [encoded_slash]}`,
		// Methods.
		`{id: get, match: "GET /m", public: true}`,
		`{id: post-put, match: "POST,PUT /m", public: true}`,
		`{id: other, match: "/m", public: true}`,
		`{id: get-only, match: "GET /g", public: true}`,
		`{id: head, match: "HEAD /hg", public: true}`,
		`{id: get-beside-head, match: "GET /hg", public: true}`,
		`{id: trace, match: "TRACE /m", public: true}`,
		`{id: n-tree, match: "/n/**", public: true}`,
		`{id: n-post, match: "POST /n/{x}", public: true}`,
		`{id: n-put, match: "PUT /n/lit", public: true}`,
	}
	requests := []struct{ want, request string }{
		{"exact-host", "GET api.eu.example.com /h/one"},
		{"exact-host", "GET API.EU.Example.COM /h/one"},
		{"exact-host", "GET api.eu.example.com:8443 /h/one"},
		{"exact-host", "GET api.eu.example.com. /h/one"},
		{"exact-host", "GET api.eu.example.com.:443 /h/one"},
		{"below-eu", "GET api.eu.example.com /h/two"},
		{"below-eu", "GET x.y.eu.example.com /h/one"},
		{"all-below", "GET eu.example.com /h/one"},
		{"all-below", "GET eueu.example.com /h/one"},
		{"any-host", "GET eu.example.com /h/one/two"},
		{"any-host", "GET example.com /h/one"},
		{"example", "GET example.com /h/one/y"},
		{"any-host", "GET notexample.com /h/one"},
		{"any-host", "GET example.com.evil /h/one"},
		{"", "GET .example.com /h/one"}, // what is no host matches nothing
		{"", "GET example.com.. /h/one/y"},
		{"", "GET example.com:80:80 /h/one/y"},
		{"", "GET x@example.com /h/one/y"},
		{"any-host", "GET  /h/one"},
		{"", "GET " + strings.Repeat("a", 300) + ".example.com /h/one"},
		{"six", "GET [2001:db8::1] /h"},
		{"six", "GET [2001:DB8::1]:443 /h"},
		{"any-host", "GET [2001:db8::2] /h"},

		{"root", "GET x /"},
		{"", "GET x /x"},
		{"tree", "GET x /p"},
		{"tree", "GET x /p/"},
		{"one", "GET x /p/x"},
		{"one", "GET x /p/x/"},
		{"tree", "GET x /p/x/y"},
		{"literal", "GET x /p/lit"},
		{"literal", "GET x /p/lit/"},
		{"literal", "GET x /p/%6Cit"},
		{"one", "GET x /p/Lit"},
		{"literal-tree", "GET x /p/lit/y"},
		{"", "GET x /pp"},
		{"", "GET x /P/x"},
		{"left", "GET x /q/lit/lit"},
		{"right", "GET x /q/x/lit"},
		{"", "GET x /q/x/y"},
		{"", "GET x /q/lit"},
		{"deep-tree", "GET x /r/a/b/c"},
		{"param-end", "GET x /r/x/b/c"},
		{"", "GET x /r/a/c"},
		{"escaped", "GET x /caf%c3%a9/{x}"},
		{"", "GET x /caf%C3%A9/y"},
		{"slashes", "GET x /s/a%2fb"},
		{"", "GET x /s/a/b"},

		{"get", "GET x /m"},
		{"get", "HEAD x /m"},
		{"post-put", "PUT x /m"},
		{"other", "DELETE x /m"},
		{"other", "OPTIONS x /m"},
		{"trace", "TRACE x /m"},
		{"", "CONNECT x /m"},
		{"", "get x /m"},
		{"", "PROPFIND x /p/x"},
		{"", "POST x /g"},
		{"get-only", "HEAD x /g"},
		{"head", "HEAD x /hg"},
		{"get-beside-head", "GET x /hg"},
		// A path that wins and does not have the method leaves it to the next one.
		{"n-put", "PUT x /n/lit"},
		{"n-post", "POST x /n/lit"},
		{"n-tree", "GET x /n/lit"},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		p := compile(t, routes...)
		for _, tt := range requests {
			if got := winner(t, p, tt.request); got != tt.want {
				t.Errorf("%s: %q wins, want %q", tt.request, got, tt.want)
			}
		}
		random.Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
	}
	if route := compile(t, `{id: all, match: "/**", public: true}`).Match("GET", "x", pattern.Path{}); route != nil {
		t.Error("the path of no request matches")
	}
}

// The hosts and addresses of a file are the defaults of its routes.
func TestFileDefaults(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]policy.File{
		{Name: "a.yaml", Data: []byte(`
version: 1
hosts: [a.example.com]
client_ips: [office]
ip_lists: {office: [192.0.2.0/24]}
routes:
  - {id: default, match: /x, public: true}
  - {id: own, match: {paths: [/x], hosts: [own.example.com]}, public: true}
  - {id: lifted, match: {paths: [/x], hosts: ["*"]}, public: true, client_ips: [any]}
`)},
		{Name: "b.yaml", Data: []byte(`
version: 1
routes:
  - {id: other-file, match: /y, public: true, client_ips: [office]}
`)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"GET a.example.com /x": "default", "GET own.example.com /x": "own", "GET z.example.com /x": "lifted", "GET z.example.com /y": "other-file",
	} {
		if got := winner(t, p, request); got != want {
			t.Errorf("%s: %q wins, want %q", request, got, want)
		}
	}
	var listed []string
	for _, r := range p.ClientIPRoutes() {
		listed = append(listed, r.ID)
	}
	if want := []string{"default", "own", "other-file"}; !slices.Equal(listed, want) || !p.UsesClientIPs() {
		t.Errorf("%v list addresses, want %v", listed, want)
	}
}

// A rule is a route of the oracle: a pattern as people read it.
type rule struct {
	id, method, host, path string
}

func (r rule) yaml() string {
	match := fmt.Sprintf("{paths: [%q]", r.path)
	if r.method != "" {
		match += ", methods: [" + r.method + "]"
	}
	if r.host != "" {
		match += fmt.Sprintf(", hosts: [%q]", r.host)
	}
	return fmt.Sprintf("{id: %s, match: %s}, public: true}", r.id, match)
}

// rank says how well the rule matches, as a text that sorts the best first; "" when
// it does not. It is the contract's sentence, word by word, and slow.
func (r rule) rank(method, host, path string) string {
	rank := ""
	switch {
	case r.host == host:
		rank = "0"
	case strings.HasPrefix(r.host, "*.") && strings.HasSuffix(host, r.host[1:]) && len(host) >= len(r.host):
		rank = fmt.Sprintf("1-%03d", 999-len(r.host))
	case r.host == "":
		rank = "2"
	default:
		return ""
	}
	rank += " "
	split := func(s string) []string {
		return slices.DeleteFunc(strings.Split(s, "/"), func(s string) bool { return s == "" })
	}
	want, got := split(r.path), split(path)
	for {
		switch {
		case len(want) == 0 && len(got) == 0:
			rank += "2" // the end of the pattern
		case len(want) > 0 && want[0] == "**":
			rank += "3"
		case len(want) == 0 || len(got) == 0:
			return ""
		default:
			one := rankSegment(want[0], got[0])
			if one == "" {
				return ""
			}
			rank += one
			want, got = want[1:], got[1:]
			continue
		}
		break
	}
	switch {
	case r.method == method:
		return rank + " 0"
	case r.method == "GET" && method == "HEAD":
		return rank + " 1"
	case r.method == "" && slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method):
		return rank + " 2"
	}
	return ""
}

var oracleParams = regexp.MustCompile(`\{\w+\}`)

// rankSegment says how well a segment of a rule matches one of a path, like rank.
func rankSegment(want, got string) string {
	literals := oracleParams.Split(want, -1)
	switch characters := len(strings.Join(literals, "")); {
	case want == got:
		return "0"
	case len(literals) == 1:
		return ""
	case characters == 0:
		return "1"
	case !strings.HasPrefix(got, literals[0]):
		return ""
	default:
		got = got[len(literals[0]):]
		for i, literal := range literals[1:] {
			if got == "" {
				return ""
			}
			if literal == "" {
				return fmt.Sprintf("0%03d", 999-characters)
			}
			_, after, found := strings.Cut(got[1:], literal) // at least one character
			if !found || i == len(literals)-2 && after != "" {
				return ""
			}
			got = after
		}
		return fmt.Sprintf("0%03d", 999-characters)
	}
}

// TestMixedAgainstOracle plays random policies with mixed segments. A policy is refused exactly
// if two of its routes match one of all short paths equally well.
func TestMixedAgainstOracle(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	mixed := []string{"{x}-b", "a-{x}", "{x}-{y}", "a{x}", "{x}b", "{x}.{y}", "a-{x}-b", "{x}b-{y}"}
	literals := []string{"a-b", "a", "-", "a.b"}
	var texts []string
	for from, n := []string{""}, 0; n < 5; n++ {
		var longer []string
		for _, s := range from {
			for _, c := range "a-b." {
				longer = append(longer, s+string(c))
			}
		}
		texts = append(texts, longer...)
		from = longer
	}
	texts = slices.DeleteFunc(texts, func(s string) bool { return s == "." || s == ".." })
	refused, taken, won := 0, 0, 0
	for range 300 {
		var rules []rule
		var routes []string
		two := random.IntN(3) == 0
		for i := range 2 + random.IntN(5) {
			segment := func(n int) string {
				s := pick(append([]string{pick(literals...), fmt.Sprintf("{p%d}", n)}, mixed...)...)
				return strings.NewReplacer("{x}", fmt.Sprintf("{x%d}", n), "{y}", fmt.Sprintf("{y%d}", n)).Replace(s)
			}
			path := "/" + segment(0)
			if two {
				path += "/" + pick("a-b", "{p}", segment(1))
			}
			path += pick("", "", "/**")
			rules = append(rules, rule{id: fmt.Sprintf("r%d", i), path: path, method: pick("", "GET", "HEAD", "POST")})
			routes = append(routes, rules[i].yaml())
		}
		p, err := tryCompile(routes...)
		tied := ""
		for range 300 {
			path := "/" + pick(texts...)
			if two || random.IntN(4) == 0 {
				path += "/" + pick(append([]string{"a-b", "a--b", "a-b-b"}, texts...)...)
			}
			method := pick("GET", "HEAD", "POST", "PUT")
			best, want := "", ""
			for _, r := range rules {
				switch rank := r.rank(method, "x.test", path); {
				case rank == "" || best != "" && rank > best:
				case rank == best:
					tied = method + " " + path
				default:
					best, want = rank, r.id
				}
			}
			if err != nil || tied != "" {
				continue
			}
			if got := winner(t, p, method+" x.test "+path); got != want {
				t.Fatalf("%v\n%s %s: %q wins, want %q", rules, method, path, got, want)
			}
			if want != "" {
				won++
			}
		}
		switch {
		case tied != "" && err == nil:
			t.Fatalf("%v is taken, and %s is won by two routes", rules, tied)
		case err != nil:
			refused++
			checkExamples(t, rules, err)
		default:
			taken++
		}
	}
	if refused < 40 || taken < 60 || won < 5_000 {
		t.Errorf("%d policies refused, %d taken, %d requests won: this tests too little", refused, taken, won)
	}
}

var conflictMessage = regexp.MustCompile(`route (r\d) and route (r\d) .* could both win (\w+) https://[^/]+(\S+);`)

// checkExamples looks whether both routes of each conflict match its example equally well, so
// that every policy that is refused has a tie.
func checkExamples(t *testing.T, rules []rule, err error) {
	t.Helper()
	found, _ := errors.AsType[policy.Problems](err)
	for _, problem := range found {
		m := conflictMessage.FindStringSubmatch(problem.Message)
		if m == nil {
			t.Fatalf("%v: %s", rules, problem.Message)
		}
		rank := func(id string) string { return rules[id[1]-'0'].rank(m[3], "x.test", m[4]) }
		if rank(m[1]) == "" || rank(m[1]) != rank(m[2]) {
			t.Fatalf("%v: %s: the ranks are %q and %q", rules, problem.Message, rank(m[1]), rank(m[2]))
		}
	}
}

// TestMatchAgainstOracle plays random policies and requests on the matcher and on
// the contract's own words.
func TestMatchAgainstOracle(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	refused, matched, missed := 0, 0, 0
	for range 3000 {
		rules := make([]rule, 1+random.IntN(8))
		routes := make([]string, len(rules))
		for i := range rules {
			path := ""
			for n := range random.IntN(4) {
				path += "/" + pick("a", "b", fmt.Sprintf("{p%d}", n))
			}
			path += pick("", "", "/**")
			if path == "" {
				path = "/"
			}
			rules[i] = rule{
				id: fmt.Sprintf("r%d", i), path: path, method: pick("", "", "GET", "HEAD", "POST", "TRACE"),
				host: pick("", "", "x.test", "y.x.test", "*.test", "*.x.test"),
			}
			routes[i] = rules[i].yaml()
		}
		p, err := tryCompile(routes...)
		// Two rules are ambiguous when all that tells them apart is the name of a parameter.
		shapes := map[string]bool{}
		twice := false
		for _, r := range rules {
			shape := r.method + " " + r.host + " "
			for s := range strings.SplitSeq(r.path, "/") {
				shape += "/" + map[bool]string{true: "{}", false: s}[strings.HasPrefix(s, "{")]
			}
			twice = twice || shapes[shape]
			shapes[shape] = true
		}
		if twice != (err != nil) {
			t.Fatalf("%v: refused: %v, want %v", rules, err, twice)
		}
		if err != nil {
			refused++
			continue
		}
		for range 40 {
			path := ""
			for range random.IntN(5) {
				path += "/" + pick("a", "b", "c")
			}
			path += pick("", "/")
			if path == "" {
				path = "/"
			}
			method, host := pick("GET", "HEAD", "POST", "PATCH", "TRACE", "CONNECT"), pick("x.test", "y.x.test", "z.y.x.test", "test", "q.test", "other")
			best, want := "", ""
			for _, r := range rules {
				if rank := r.rank(method, host, path); rank != "" && (best == "" || rank < best) {
					best, want = rank, r.id
				}
			}
			request := method + " " + host + " " + path
			if got := winner(t, p, request); got != want {
				t.Fatalf("%v\n%s: %q wins, want %q", rules, request, got, want)
			}
			if want == "" {
				missed++
			} else {
				matched++
			}
		}
	}
	if refused < 50 || matched < 10_000 || missed < 10_000 {
		t.Errorf("%d policies refused, %d requests matched, %d missed: this tests too little", refused, matched, missed)
	}
}

// manyRoutes makes a policy as an API of n endpoints has it.
func manyRoutes(t testing.TB, n int) *policy.Policy {
	t.Helper()
	var text strings.Builder
	text.WriteString("version: 1\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {id: r%d, match: \"GET /api/v1/kind%d/{id}/audit\", public: true}\n", i, i)
	}
	for i := range n {
		fmt.Fprintf(&text, "  - {id: m%d, match: \"GET /mixed/k%d-{id}.json\", public: true}\n  - {id: v%d, match: \"POST /mixed/{id}:v%d\", public: true}\n", i, i, i, i)
	}
	text.WriteString("  - {id: files, match: {hosts: [\"*.example.com\"], paths: [\"/files/**\"]}, public: true}\n")
	p, err := policy.Parse([]policy.File{{Name: "many.yaml", Data: []byte(text.String())}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMatchAllocates: matching allocates nothing, however many routes there are.
func TestMatchAllocates(t *testing.T) {
	for _, n := range []int{10, 10_000} {
		p := manyRoutes(t, n)
		for _, request := range []string{
			"GET API.Example.com:8443 /api/v1/kind7/42/audit", "POST api.example.com /api/v1/kind7/42/audit", "GET a.b.example.com /files/a/b/c", "GET x /nowhere",
			"GET x /mixed/k7-42.json", "POST x /mixed/42:v8", "GET x /mixed/k7-42.json.json",
		} {
			parts := strings.Split(request, " ")
			path, err := pattern.ParsePath(parts[2])
			if err != nil {
				t.Fatal(err)
			}
			if got := testing.AllocsPerRun(100, func() { p.Match(parts[0], parts[1], path) }); got != 0 {
				t.Errorf("%d routes, %s: %v allocations, want 0", n, request, got)
			}
		}
	}
}

// BenchmarkMatch finds the last of 10 and of 10,000 routes. The two should take the
// same time but for the caches of the processor.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		p := manyRoutes(b, n)
		path, err := pattern.ParsePath(fmt.Sprintf("/api/v1/kind%d/42/audit", n-1))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Match("GET", "api.example.com", path) == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

// FuzzParse: whatever a file holds, it is refused with places or it can be matched.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"version: 1\nroutes: [{id: a, match: /a, public: true}]\n",                                              // the smallest
		"version: 1\nroutes: [{id: a, match: \"GET /a/{x}/**\", allow: [{user: {roles: [A]}}]}]\n",              // a pattern and a rule
		"version: 1\nroutes: [{id: a, match: {hosts: [\"*.x\"], paths: [/a], methods: [GET]}, public: true}]\n", // the long form
		"version: 1\nip_lists: {o: [192.0.2.0/24, \"${V}\"]}\nclient_ips: [o]\nroutes: []\n",                    // lists
		"version: 1\nroutes: [{id: a, match: /a, public: true}, {id: b, match: /a/, public: true}]\n",           // an ambiguous pair
		"a: &a [*a]\n",             // an alias of itself
		"? {}\n: []\n",             // a key that is no text
		"---\n---\n",               // documents
		"{{{{{{{{{{{{{{{{",         // nesting
		"- - - - - - - -\n",        // nesting in another style
		"version: 1\n\troutes: []", // a tab
		"\ufeffversion: 1\n",       // a byte order mark
		"version: !!int 1\n",       // a tag
		"<<: {version: 1}\n",       // a merge key
		"a: |\n  b\nc: >-\n  d\n",  // block texts
	} {
		f.Add([]byte(seed))
	}
	path, err := pattern.ParsePath("/a/b")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.Parse([]policy.File{{Name: "f.yaml", Data: data}}, badEnv)
		if err != nil {
			found, ok := errors.AsType[policy.Problems](err)
			if !ok || len(found) == 0 || p != nil {
				t.Fatalf("%T with a policy %v: %v", err, p, err)
			}
			for _, problem := range found {
				if problem.File != "f.yaml" || problem.Message == "" {
					t.Fatalf("%#v has no place or no message", problem)
				}
			}
			return
		}
		p.Match("GET", "a.x", path)
		for _, r := range p.Routes() {
			ways := r.User != nil || r.APIKey != nil || r.Anonymous
			if r.ID == "" || r.Public == ways {
				t.Errorf("route %+v lets in nobody, or everybody and somebody", r)
			}
		}
	})
}
