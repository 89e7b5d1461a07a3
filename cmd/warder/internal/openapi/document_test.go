package openapi

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
	"warder/policy/pattern"
)

// TestParse: what stops the reading of a document, and what does not.
func TestParse(t *testing.T) {
	t.Parallel()
	const head = "openapi: 3.1.0\npaths:\n  /a: "
	for _, tt := range []struct {
		wrong    string // "" if the document is read
		document string
	}{
		// What a policy does not need may be as it likes.
		{"", `{"openapi":"3.0.0","info":{"version":1.0,"title":null,"license":"MIT"},"paths":{"/a":{"get":{}}}}`},
		{"", `{"openapi":"3.0.0","info":"none","tags":5,"paths":{"/a":{"get":{"responses":{"200":{"$ref":"other.yaml"}}}}}}`},
		{"", `{"openapi":"3.0.0","paths":{"/a":{"get":{"responses":{"200":{"schema":{"$ref":"#/nowhere"}}}}}},"components":{"schemas":{"A":{"required":true,"nullable":"true"},"A":{"$ref":"#/$defs/B"}}}}`},
		{"", `{"openapi":"3.0.0","x-a":{"x-a":[[{}]]},"x-a":1,"paths":{"x-a":5,"/a":{"x-a":5,"summary":7,"get":{"summary":[],"operationId":{}}}}}`},
		{"", `{"openapi":"3.0.0","paths":{"/a":{"get":{"parameters":[{"$ref":"#/nowhere"},{"$ref":"p.yaml"},5,null]}}}}`},
		{"", `{"openapi":"3.0.0","paths":{"/a":{"get":{}}},"components":{"securitySchemes":{"unused":{"$ref":"other.yaml"}}}}`},
		{"", `{"openapi":"3.0.0","info":{"$ref":"info.yaml"},"paths":{"/a":{"get":{}}},"webhooks":{"w":{"$ref":"hooks.yaml"}}}`},
		{"", "\uFEFF{\"openapi\":\"3.0.0\",\n\t\"paths\":{\"/a\":{\"get\":{}}}}"},
		{"", "\uFEFFopenapi: 3.0.0\npaths: {/a: {get: {}}}"},
		{"", "---\nopenapi: 3.0.0\npaths: {/a: {get: {}}}\n...\n"},
		{"", "---\nopenapi: 3.1\npaths: {/a: {get: {}}}\n---\n"},
		{"", "# a comment\n{openapi: 3.1.0, paths: {/a: {get: {}}}}"},
		{"", "{openapi: 3.1.0, paths: {/a: {get: {}}}}"},
		{"", head + "{get: {x: !thing {a: b}, example: 2020-99-99}}\nx: {a: 1, a: 2, ? [a] : b, ? {c: d} : e}\n"},
		{"line 4, column 8: unknown anchor", head + "{get: {}}\nx: &x [*y]\n"},
		{"", "swagger: 2.0\npaths: {/a: {get: {}}}"},
		{"", "swagger: '2.0'\nbasePath: v1\npaths: {/a: {get: {}}}"},

		// Other kinds of documents.
		{"is empty", ""},
		{"is empty", " \n"},
		{"is a web page or XML", "<html></html>"},
		{"line 1: an object is expected there", "Not Found"},
		{"line 1: an object is expected there", "[]"},
		{"has nothing in it", "# nothing\n"},
		{"has no OpenAPI version", `{"detail":"Not Found"}`},
		{"is an AsyncAPI document", "asyncapi: 2.6.0\nchannels: {}"},
		{"is a Postman collection", `{"info":{"_postman_id":"x"},"item":[]}`},
		{"is a Google discovery document", `{"kind":"discovery#restDescription"}`},
		{"is a document of Swagger 1", `{"swaggerVersion":"1.2"}`},
		{"is Swagger 1.2;", `{"swagger":"1.2"}`},
		{"is OpenAPI 4.0.0;", `{"openapi":"4.0.0"}`},
		{"is OpenAPI 30;", `{"openapi":"30"}`},
		{"has both openapi and swagger", `{"openapi":"3.0.0","swagger":"2.0"}`},
		{"has no paths", `{"openapi":"3.1.0"}`},
		{"has no paths", `{"openapi":"3.1.0","paths":null}`},
		{"has no paths", `{"openapi":"3.1.0","paths":{"/a":{},"/b":null}}`},

		// Broken syntax, with its place.
		{`line 2, column 1: invalid character '}' looking for beginning of value`, "{\"openapi\": \"3.0.0\", \"paths\":\n}"},
		{"line 1, column 7: unexpected end of JSON input", `{"a": 1`},
		{"line 1, column 8: invalid character 'x'", `{"a":1}x`},
		{"line 4, column ", "---\nopenapi: 3.0.0\npaths: [\n"},
		{"line 2, column ", "openapi: 3.0.0\npaths: {/a: {get: {}}}}\n"},
		{"line 2, column ", "openapi: 3.0.0\n\tpaths: {}\n"},
		{"line 1, column 37: invalid character '}'", `{"openapi": "3.0.0", "paths": {"/a":}}`},
		{"line 1, column 41: invalid character '}'", `{"openapi": "3.0.0", "paths": {"/a": {},}}`},
		{"begins a second document", "openapi: 3.0.0\n---\nopenapi: 3.0.0\n"},

		// A document of several files.
		{"line 3: the path /a refers to ./a.yaml ($ref), and other files are not read; bundle it", head + "{$ref: ./a.yaml}"},
		{"the path /a refers to https://example.com/a", head + "{$ref: 'https://example.com/a'}"},
		{"the operation GET /a refers to get.yaml", head + "{get: {$ref: get.yaml}}"},
		{"the member paths refers to paths.yaml", "openapi: 3.1.0\npaths: {$ref: paths.yaml}"},
		{"the security scheme k refers to k.yaml", head + "{get: {security: [{k: []}]}}\ncomponents: {securitySchemes: {k: {$ref: k.yaml}}}"},
		{"the security scheme k refers to all.yaml", head + "{get: {security: [{k: []}]}}\ncomponents: {securitySchemes: {$ref: all.yaml}}"},
		{"the path /a refers to #/components/pathItems/a ($ref), which the document does not have", head + "{$ref: '#/components/pathItems/a'}"},
		{"the path /a refers to #a ($ref), which the document does not have", head + "{$ref: '#a'}"},
		{"the path /a has a reference ($ref) that leads through", head + "{$ref: '#/paths/~1a'}"},
		{"leads through", head + "{get: {$ref: '#/paths/~1a/get'}}"},

		// What a policy needs has one reading.
		{"the document has paths twice, the first on line 1", `{"openapi":"3.0.0","paths":{},"paths":{}}`},
		{"the document has the path /a twice", `{"openapi":"3.0.0","paths":{"/a":{},"/a":{}}}`},
		{"the path /a has get twice", `{"openapi":"3.0.0","paths":{"/a":{"get":{},"GET":{}}}}`},
		{"the operation GET /a has security twice", `{"openapi":"3.0.0","paths":{"/a":{"get":{"security":[],"security":[]}}}}`},
		{"has the security scheme k twice", `{"openapi":"3.0.0","paths":{"/a":{"get":{"security":[{"k":[],"k":[]}]}}}}`},
		{"has the security scheme k twice", `{"openapi":"3.0.0","paths":{"/a":{"get":{"security":[{"k":[]}]}}},"components":{"securitySchemes":{"k":{},"k":{}}}}`},
		{"the security scheme k has type twice", `{"openapi":"3.0.0","paths":{"/a":{"get":{"security":[{"k":[]}]}}},"components":{"securitySchemes":{"k":{"type":"http","type":"apiKey"}}}}`},
		{"the path /a must be a mapping", head + "[]"},
		{"the operation GET /a must be a mapping", head + "{get: []}"},
		{"the member paths must be a mapping", "openapi: 3.0.0\npaths: []"},
		{"has servers that are no list", "openapi: 3.0.0\nservers: {url: /v1}\npaths: {/a: {get: {}}}"},
	} {
		_, err := parse([]byte(tt.document), nil)
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("%s\n  %v", tt.document, err)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s\n  %v, want %q", tt.document, err, tt.wrong)
		}
	}
}

// TestParseBounded: aliases, merge keys and references multiply what a document says. The work
// has a bound, and what they make of one another has no end that is waited for.
func TestParseBounded(t *testing.T) {
	t.Parallel()
	laughs := func(first, each string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "openapi: 3.1.0\nx0: &x0 %s\n", first)
		for i := range 40 {
			name := fmt.Sprintf("*x%d", i)
			fmt.Fprintf(&b, "x%d: &x%d %s\n", i+1, i+1, strings.ReplaceAll(each, "*", name))
		}
		return b.String()
	}
	for _, tt := range []struct {
		wrong    string
		document string
	}{
		{"", laughs("[a]", "[*, *]") + "paths: {/a: {get: {}}}"},
		{"", laughs("{a: b}", "{a: *, b: *}") + "paths: {/a: {get: *x40 }}"},
		{errTooLong.Error(), laughs("{a: b}", "{<<: [*, *]}") + "paths: {/a: *x40 }"},
		{errTooLong.Error(), laughs("{a: b}", "{<<: [*, *]}") + "paths: {/a: {get: *x40 }}"},
		{errTooLong.Error(), laughs("{a: b}", "{<<: [*, *]}") + "paths: {'/{a}': {get: {parameters: [*x40 ]}}}"},
		{"", "openapi: 3.1.0\npaths: {/a: &a {<<: *a, get: {}}}"},
		{"", "openapi: 3.1.0\npaths: {/a: &a {get: {security: [*a]}}}"},
		{"", `{"openapi":"3.1.0","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"paths":{"/a":{"get":{}}}}`},
		{"exceeded max depth", `{"openapi":"3.1.0","x":` + strings.Repeat("[", 50000)},
		{"max depth", "openapi: 3.1.0\nx: " + strings.Repeat("[", 50000)},
		{"", `{"openapi":"3.1.0","paths":{"/` + strings.Repeat("{", 1<<20) + `":{"get":{}}}}`},
		{"", `{"openapi":"3.1.0","paths":{"/` + strings.Repeat("{x}/", 1<<18) + `":{"get":{}}}}`},
		{"has more than 50000 operations", `{"openapi":"3.1.0","paths":{"/a":{` + manyOperations(50_001) + `}}}`},
	} {
		_, err := parse([]byte(tt.document), nil)
		if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%.120s…\n  %v, want %q", tt.document, err, tt.wrong)
		}
	}
}

func manyOperations(n int) string {
	var b strings.Builder
	b.WriteString(`"additionalOperations":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"M%d":{}`, i)
	}
	return b.String() + "}"
}

// TestParseSteps: what is not read costs no steps, however much of it there is.
func TestParseSteps(t *testing.T) {
	t.Parallel()
	for _, swagger := range []bool{true, false} {
		small, large := stepsOf(t, bigDocument(20, 10, swagger)), stepsOf(t, bigDocument(20, 3000, swagger))
		if small == 0 || large > small+10 {
			t.Errorf("a document with 10 schemas takes %d steps, one with 3000 schemas %d", small, large)
		}
		double := stepsOf(t, bigDocument(40, 10, swagger))
		if double > 3*small {
			t.Errorf("20 paths take %d steps, 40 paths %d", small, double)
		}
	}
}

func stepsOf(t *testing.T, document string) int {
	t.Helper()
	s, err := newSource([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	r := reader{source: s, app: Application{schemes: map[string]scheme{}}}
	if err := r.document(); err != nil {
		t.Fatal(err)
	}
	return s.steps
}

// bigDocument returns a document in the shape of that of Kubernetes.
func bigDocument(paths, schemas int, swagger bool) string {
	var b strings.Builder
	if swagger {
		b.WriteString(`{"swagger":"2.0","securityDefinitions":{"BearerToken":{"type":"apiKey","in":"header","name":"authorization"}}`)
	} else {
		b.WriteString(`{"openapi":"3.0.0","components":{"securitySchemes":{"BearerToken":{"type":"http","scheme":"bearer"}}}`)
	}
	b.WriteString(`,"security":[{"BearerToken":[]}],"definitions":{"none":{}`)
	for i := range schemas {
		fmt.Fprintf(&b, `,"io.k8s.api.core.v1.Kind%d":{"description":%q,"properties":{"metadata":{"$ref":"#/definitions/io.k8s.api.core.v1.Kind%d"},"items":{"items":{"type":"string"},"type":"array","x-kubernetes-list-type":"atomic"}},"type":"object"}`,
			i, strings.Repeat("what the kind is for, ", 40), i+1)
	}
	b.WriteString(`},"paths":{"/version":{"get":{}}`)
	for i := range paths {
		fmt.Fprintf(&b, `,"/apis/group%d/v1/namespaces/{namespace}/kinds/{name}":{"get":{"operationId":"read%d","responses":{"200":{"schema":{"$ref":"#/definitions/x"}}}},"delete":{"operationId":"delete%d"},"parameters":[{"in":"path","name":"name","type":"string"}]}`, i, i, i)
	}
	return b.String() + "}}"
}

// BenchmarkParse reads 3 MB in the shape of Kubernetes' document.
func BenchmarkParse(b *testing.B) {
	document := []byte(bigDocument(500, 2500, true))
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		if a, err := parse(document, nil); err != nil || len(a.Operations) != 1001 {
			b.Fatal(len(a.Operations), err)
		}
	}
}

// TestSkeletonOfAnything: whatever paths, references and requirements a document puts together,
// its skeleton loads, lets nobody in without a credential and forgets no operation.
func TestSkeletonOfAnything(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(words []string) string { return words[r.IntN(len(words))] }
	segments := []string{"a", "b", "a.json", "{x}", "{y}", "{x}.json", "{x}-{y}", "x-{y}", "{a}{b}", "{x+}", "{x:path}", "{x:.*}", "{x:[a-z]+}", "{x:.*y}", "*", "**", "*rest", ":id", ":id?", ":id*", ":a-:b", "<x>", "<path:x>", "{x=a/*}", "{x=**}", "{x}:go", "a:go", "(x)", "[x]", "{?q}", "{x?}", "", "{", "}", "é", "%41", "%2F", ";"}
	ends := []string{"", "", "", "/", "?a=b", "#x", "?"}
	ways := []string{`[]`, `[{}]`, `[{},{"t":["R"]}]`, `[{"t":["R"]}]`, `[{"t":["S"]}]`, `[{"k":["s"]}]`, `[{"t":["R"],"k":[]}]`, `[{"q":[]}]`, `5`, `null`, `[{"t":5}]`, `[5]`, `[{"u":[]}]`}
	for range 200 {
		var b strings.Builder
		b.WriteString(`{"openapi":"3.1.0","security":` + pick(ways) + `,"components":{"securitySchemes":{"t":{"type":"http","scheme":"bearer"},"k":{"type":"apiKey","in":"header","name":"x-api-key"},"q":{"type":"apiKey","in":"query","name":"k"}}},"paths":{"/z":{}`)
		seen := map[string]bool{}
		for range 1 + r.IntN(8) {
			path := ""
			for range 1 + r.IntN(3) {
				path += "/" + pick(segments)
			}
			if path += pick(ends); seen[path] {
				continue
			}
			seen[path] = true
			operations := map[string]string{}
			for range 1 + r.IntN(2) {
				operations[pick([]string{"get", "head", "post", "x-amazon-apigateway-any-method"})] = `{"security":` + pick(ways) + `}`
			}
			fmt.Fprintf(&b, `,%q:{`, path)
			for i, method := range slices.Sorted(maps.Keys(operations)) {
				fmt.Fprintf(&b, `%s%q:%s`, strings.Repeat(",", min(i, 1)), method, operations[method])
			}
			b.WriteString("}")
		}
		document := b.String() + "}}"
		a, err := parse([]byte(document), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		s := skeletonOf(a)
		if len(s.routes) == 0 {
			continue
		}
		text, err := s.withoutTies(a, loads)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		p := parseSkeleton(t, text)
		if forgets(t, a, p, text) || mixes(t, a, p) {
			t.Fatalf("%s\n%s", document, text)
		}
	}
}

// forgets reports operations of which the skeleton says nothing.
func forgets(t *testing.T, a Application, p *policy.Policy, text string) (wrong bool) {
	t.Helper()
	flat := strings.Join(strings.Fields(strings.ReplaceAll(text, "# ", "")), " ")
	for _, o := range a.Operations {
		said := strings.Contains(flat, operationName(o)+" has no route")
		for _, r := range p.Routes() {
			said = said || decides(r, o)
		}
		if !said {
			t.Errorf("nothing is said about %s", operationName(o))
			wrong = true
		}
	}
	return wrong
}

// mixes reports open routes that require something else than one of their operations.
func mixes(t *testing.T, a Application, p *policy.Policy) (wrong bool) {
	t.Helper()
	for _, r := range p.Routes() {
		if r.User != nil && slices.Contains(r.User.Roles, undecided) && r.APIKey == nil {
			continue
		}
		for _, o := range a.Operations {
			if !decides(r, o) {
				continue
			}
			rule := ruleOf(a, o.security)
			if (rule.user == nil) != (r.User == nil) || (rule.apiKey == nil) != (r.APIKey == nil) ||
				rule.user != nil && !slices.Equal(rule.user.AllRoles, r.User.AllRoles) ||
				rule.apiKey != nil && !slices.Equal(rule.apiKey.Scopes, r.APIKey.Scopes) {
				t.Errorf("route %s does not require what %s does", r.ID, operationName(o))
				wrong = true
			}
		}
	}
	return wrong
}

// decides reports whether a route is written for an operation.
func decides(r *policy.Route, o Operation) bool {
	return o.path != "" && slices.Contains(r.Methods, o.Method) && slices.ContainsFunc(r.Paths(), func(path string) bool {
		return pattern.PathKey(path) == pattern.PathKey(o.path)
	})
}

// TestWithoutTies: a route that does not load beside another is taken out and said, and the
// other is closed, since it may decide for it.
func TestWithoutTies(t *testing.T) {
	t.Parallel()
	a, err := parse([]byte(`{"openapi":"3.1.0","components":{"securitySchemes":{"t":{"type":"http","scheme":"bearer"}}},
		"paths":{"/a/{x}/b":{"get":{"security":[{"t":["R"]}]}},"/{x}/a/b":{"get":{"security":[{"t":["S"]}]}},"/c":{"get":{"security":[{"t":["T"]}]}}}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, path := range map[string]string{"a-x-b": "/a/{x}/b", "x-a-b": "/{x}/a/b"} {
		calls := 0
		s := skeletonOf(a)
		text, err := s.withoutTies(a, func(text string) error {
			if calls++; calls > 1 {
				return loads(text)
			}
			before, _, _ := strings.Cut(text, "id: "+id)
			return policy.Problems{{Position: policy.Position{Line: 1 + strings.Count(before, "\n")}, Message: "route a and route b (x:5) could both win GET https://example.com/a/a/b; make one more specific"}}
		})
		if err != nil {
			t.Fatal(err)
		}
		flat := strings.Join(strings.Fields(strings.ReplaceAll(text, "# ", "")), " ")
		for _, want := range []string{
			"GET " + path + " has no route of its own: it and another route could both win GET https://example.com/a/a/b",
			"this route also decides requests to GET " + path,
			"all_roles: [T]",
		} {
			if !strings.Contains(flat, want) {
				t.Errorf("%q is missing in\n%s", want, text)
			}
		}
		if strings.Contains(text, "all_roles: [S]") || strings.Contains(text, "all_roles: [R]") {
			t.Errorf("a route is open for another operation\n%s", text)
		}
	}
	s, always := skeletonOf(a), errors.New("no")
	if _, err := s.withoutTies(a, func(string) error { return always }); !errors.Is(err, always) {
		t.Errorf("%v, want the error that is no problem of a line", err)
	}
}

// TestPathOf: what becomes of the paths that frameworks and generators write.
func TestPathOf(t *testing.T) {
	t.Parallel()
	declared := map[string]parameter{
		"p":     {slashes: "allowReserved: true"},
		"shelf": {pattern: "^shelves/[^/]+$"},
		"date":  {pattern: `\d+/\d+`},
		"word":  {pattern: "^[^/]+$"},
		"ahead": {pattern: "^(?!/).+$"},
		"any":   {pattern: ".+"},
	}
	for _, tt := range []struct {
		want     string // of the policy; "" if there is none
		loose    string // "" for the same
		template string
	}{
		{"/a/{b}", "", "/a/{b}"}, {"/a/{b_c}", "", "/a/{b-c}"}, {"/a/{x}/{x_2}", "", "/a/{x}/{x}"}, {"/", "", "/"}, {"/a/", "", "/a/"},
		{"/a/{p1}", "", "/a/{1}"}, {"/a/{p}", "", "/a/{}"},

		// Queries and fragments.
		{"/q", "", "/q?beta=true"}, {"/q", "", "/q?"}, {"/", "", "/#X-Amz-Target=Db.Get"}, {"/a/{b}", "", "/a/{b}?c={d}"}, {"/a", "", "/a{?b,c}"}, {"/a", "", "/a{&b}"}, {"/a", "", "/a#b?c"},

		// A last parameter that takes slashes.
		{"/a/**", "", "/a/{proxy+}"}, {"/**", "", "/{proxy+}"}, {"/a/**", "", "/a/{p:path}"}, {"/a/**", "", "/a/{*p}"}, {"/a/**", "", "/a/{**p}"}, {"/a/**", "", "/a/{*p:nonfile}"},
		{"/a/**", "", "/a/{+p}"}, {"/a/**", "", "/a/{p*}"}, {"/a/**", "", "/a/{p:.*}"}, {"/a/**", "", "/a/{p:.+}"}, {"/a/**", "", "/a/{p: (.*)}"}, {"/a/**", "", "/a/{n=**}"},
		{"/a/**", "", "/a/**"}, {"/a/**", "", "/a/*p"}, {"/a/**", "", "/a/:p*"}, {"/a/**", "", "/a/:p+"}, {"/a/**", "", "/a/:p(.*)"}, {"/a/**", "", "/a/<path:p>"}, {"/a/**", "", "/a/[...p]"}, {"/a/**", "", "/a/[[...p]]"},
		{"/a/**", "", "/a/{p}"}, {"/a/**", "", "/a/{date}"}, {"/a/**", "", "/a/{p}/"}, {"/a/**", "", "/a/{p+}/"},

		// The same before the end, or in a part of a segment.
		{"", "/a/**", "/a/{x+}/b"}, {"", "/a/**", "/a/{p}/b"}, {"", "/a/**", "/a/**/b"}, {"", "/a/**", "/a/x-{p}"}, {"", "/**", "/{n=**}:go"}, {"", "/a/**", "/a/<path:x>/b"},

		// It is not known how many segments they take.
		{"", "/a/**", `/a/{x:.*\.txt}`}, {"", "/a/**", "/a/{x:[a-z/]+}"}, {"", "/a/**", `/a/{x:\S+}`}, {"", "/a/**", "/a/{x:[^.]+}"}, {"", "/a/**", "/a/{x*2}"}, {"", "/**", "/a{/x}"}, {"", "/a/**", `/a/(?P<x>.*)`}, {"", "/a/**", "/a/:x(a.b)"},

		// One segment.
		{"/a/{id}", "", "/a/:id"}, {"/a/{id}", "", "/a/:id?"}, {"/a/{id}/b", "", "/a/:id?/b"}, {"/a/{id}", "", `/a/:id(\d+)`}, {"/a/{id}", "", "/a/<id>"}, {"/a/{id}", "", "/a/<int:id>"}, {"/a/{id}", "", "/a/[id]"},
		{"/a/{id}", "", "/a/{id:int}"}, {"/a/{id}", "", "/a/{id:[0-9]{4}}"}, {"/a/{id}", "", "/a/{id:[^/]+}"}, {"/a/{id}", "", `/a/{id:\d+\.\d+}`}, {"/a/{id}", "", "/a/{id?}"}, {"/a/{id}", "", "/a/{id=5}"}, {"/a/{id}", "", "/a/{id:int?}"},
		{"/a/{any}", "", "/a/*"}, {"/a/{word}", "", "/a/{word}"}, {"/a/{ahead}", "", "/a/{ahead}"}, {"/a/{any}", "", "/a/{any}"},

		// Several segments of a known shape.
		{"/v1/shelves/{n}", "", "/v1/{n=shelves/*}"}, {"/v1/shelves/{n}/books/{n_2}", "", "/v1/{n=shelves/*/books/*}"}, {"/v1/shelves/**", "", "/v1/{n=shelves/**}"}, {"/v1/shelves/{n}/x", "", "/v1/{n=shelves/*}/x"}, {"/v1/shelves/{shelf}", "", "/v1/{shelf}"},

		// Literals.
		{"/a%2A", "", "/a*"}, {"/%3A", "", "/:"}, {"/a:b", "", "/a:b"}, {"/a%20b/%C3%A9", "", "/a b/é"},
		{"", "", "/a//b"}, {"", "", "/a/../b"}, {"", "", "/a%2Fb"}, {"", "", "/a;b"}, {"", "", "a"}, {"", "", ""}, {"", "", "/" + strings.Repeat("a", 9000)},
		{"", "/a/{part}", "/a/{x}{y}"}, {"", "/a/{part}", "/a/{x"}, {"", "/a/{part}", "/a/x}"},
	} {
		p := pathOf("", tt.template, declared)
		loose := tt.loose
		if tt.want != "" {
			loose = tt.want
		}
		if p.path != tt.want || p.Loose != loose || (p.Wrong == "") != (tt.want != "") {
			t.Errorf("%s is %q, loosely %q (%s); want %q, loosely %q", cli.OneLine(tt.template, 60), p.path, p.Loose, p.Wrong, tt.want, loose)
		}
		if strings.HasSuffix(p.path, "**") && len(p.decide) == 0 {
			t.Errorf("%s becomes %s without a word", tt.template, p.path)
		}
	}
}

// TestBasePath: the path of a server.
func TestBasePath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ want, url string }{
		{"", ""}, {"", "/"}, {"/v1", "/v1"}, {"/v1", "/v1/"}, {"/v1", "v1"}, {"/v1", "./v1"}, {"/v1", "../v1"}, {"/a/b", "/a//b"},
		{"", "https://example.com"}, {"/v1", "https://example.com/v1?x#y"}, {"/v1", "//example.com/v1"}, {"/v1", "{server}/v1"},
		{"/two/{none}", "https://{host}.example.com:{port}/{one}/{none}"}, {"", "{server}"},
	} {
		if got := basePath(tt.url, map[string]string{"one": "two", "port": "443"}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.url, got, tt.want)
		}
	}
}

// TestMayMatch: paths that one request may have.
func TestMayMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want bool
		a, b string
	}{
		{true, "/a", "/a"}, {true, "/a", "/%61"}, {true, "/a/{x}", "/a/b"}, {true, "/a/{x}", "/{y}/b"}, {true, "/a/{x}.csv", "/a/b.csv"}, {true, "/a/x-{y}", "/a/{z}"}, {true, "/a/{x}.csv", "/a/{x}-{y}"},
		{true, "/a/**", "/a"}, {true, "/a/**", "/a/b/c"}, {true, "/**", "/{x}/b"}, {true, "/a/", "/a"}, {true, "/a/{x}/**", "/{y}/b"},
		{false, "/a", "/b"}, {false, "/a/{x}", "/a"}, {false, "/a/{x}", "/b/{x}"}, {false, "/a/{x}.csv", "/a/b"}, {false, "/a/x-{y}", "/a/y"}, {false, "/a/**", "/b/a"}, {false, "/a/{x}/c", "/a/b/d"},
	} {
		if got := mayMatch(tt.a, tt.b); got != tt.want {
			t.Errorf("%s and %s: %v, want %v", tt.a, tt.b, got, tt.want)
		}
		if mayMatch(tt.a, tt.b) != mayMatch(tt.b, tt.a) {
			t.Errorf("%s and %s depends on the order", tt.a, tt.b)
		}
	}
}

// TestSkeletonRules: what a skeleton says for one document.
func TestSkeletonRules(t *testing.T) {
	t.Parallel()
	const schemes = `"components":{"securitySchemes":{"t":{"type":"http","scheme":"bearer"}}}`
	for _, tt := range []struct {
		want, not, document string
	}{
		// The names that a requirement lists are roles from OpenAPI 3.1 on.
		{"all_roles: [R]", "DECIDE]", `{"openapi":"3.1.0","paths":{"/a":{"get":{"security":[{"t":["R"]}]}}},` + schemes + `}`},
		{"lists scopes of a token, not roles: R", "all_roles", `{"openapi":"3.0.3","paths":{"/a":{"get":{"security":[{"t":["R"]}]}}},` + schemes + `}`},
		{"lists scopes of a token, not roles: R", "all_roles", `{"openapi":"3","paths":{"/a":{"get":{"security":[{"t":["R"]}]}}},` + schemes + `}`},
		{"lists scopes of a token, not roles: R", "all_roles", `{"swagger":"2.0","paths":{"/a":{"get":{"security":[{"t":["R"]}]}}},"securityDefinitions":{"t":{"type":"oauth2"}}}`},
		{"does not define the security scheme t", "all_roles", `{"swagger":"2.0","paths":{"/a":{"get":{"security":[{"t":["R"]}]}}},` + schemes + `}`},
		// GET stands for HEAD.
		{"this route also decides requests to HEAD /a/{x}{y}", "all_roles", `{"openapi":"3.1.0","paths":{"/a/{x}":{"get":{"security":[{"t":["R"]}]}},"/a/{x}{y}":{"head":{"security":[{"t":["S"]}]}}},` + schemes + `}`},
		{"all_roles: [R]", "also decides", `{"openapi":"3.1.0","paths":{"/a/{x}":{"get":{"security":[{"t":["R"]}]}},"/a/{x}{y}":{"head":{"security":[{"t":["R"]}]}}},` + schemes + `}`},
		{"all_roles: [R]", "also decides", `{"openapi":"3.1.0","paths":{"/a/{x}":{"get":{"security":[{"t":["R"]}]}},"/a/{x}{y}":{"post":{"security":[{"t":["S"]}]}}},` + schemes + `}`},
		// What is broader decides for what has no route; what is more specific is its own.
		{"also decides requests to GET /a/b/{x}{y}", "all_roles", `{"openapi":"3.1.0","paths":{"/a/{p+}":{"get":{"security":[{"t":["R"]}]}},"/a/b/{x}{y}":{"get":{"security":[{"t":["S"]}]}}},` + schemes + `}`},
		{"all_roles: [R]", "also decides", `{"openapi":"3.1.0","paths":{"/a/b/c":{"get":{"security":[{"t":["R"]}]}},"/a/b/{x}{y}":{"get":{"security":[{"t":["S"]}]}}},` + schemes + `}`},
		// A credential that is optional is none that opens a route.
		{"the document makes the credential optional", "- anonymous", `{"openapi":"3.1.0","paths":{"/a":{"get":{"security":[{},{"t":["R"]}]}}},` + schemes + `}`},
		{"/v1/a", "- public", `{"swagger":"2.0","host":"example.com","basePath":"v1/","paths":{"/a":{"get":{}}}}`},
	} {
		got, err := runImport(strings.NewReader(tt.document), "-")
		if err != nil {
			t.Errorf("%s\n  %v", tt.document, err)
			continue
		}
		_, routes, _ := strings.Cut(got, "routes:\n")
		flat := strings.Join(strings.Fields(strings.ReplaceAll(routes, "# ", "")), " ")
		if !strings.Contains(flat, tt.want) || strings.Contains(flat, tt.not) {
			t.Errorf("%s\n  want %q and not %q:\n%s", tt.document, tt.want, tt.not, routes)
		}
		parseSkeleton(t, got)
	}
}
