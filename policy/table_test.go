package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
	"warder/policy/pattern"
)

const tablePolicy = `version: 1
hosts: ["*.example.com", b.example.com]
routes:
  - {id: rest, match: /a/**, public: true}
  - {id: end, match: /a, public: true}
  - {id: param, match: "/a/{id}", public: true}
  - {id: listed, match: "POST,GET /a/{x}", public: true}
  - {id: literal, match: /a/z, public: true}
  - {id: any, match: {hosts: ["*"], paths: [/]}, public: true}
  - {id: long, match: {hosts: ["*.x.example.com"], paths: [/b/**, /a/b]}, public: true}
`

// TestTable: most specific first, whatever the order of the file.
func TestTable(t *testing.T) {
	t.Parallel()
	p := compileText(t, tablePolicy)
	var got []string
	for _, e := range p.Table() {
		host := e.Host
		if host == "" {
			host = "*"
		}
		got = append(got, strings.Join([]string{host, e.Path, strings.Join(e.Methods, ","), e.Route.ID}, " "))
	}
	want := strings.Split(strings.TrimSpace(`
b.example.com /a/z  literal
b.example.com /a/{x} POST,GET listed
b.example.com /a/{id}  param
b.example.com /a  end
b.example.com /a/**  rest
*.x.example.com /a/b  long
*.x.example.com /b/**  long
*.example.com /a/z  literal
*.example.com /a/{x} POST,GET listed
*.example.com /a/{id}  param
*.example.com /a  end
*.example.com /a/**  rest
* /  any`), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWritten: a route still knows what it was compiled from, and nobody can change it.
func TestWritten(t *testing.T) {
	t.Parallel()
	p := compileText(t, tablePolicy)
	for range 2 {
		listed, anyHost := p.Routes()[3], p.Routes()[5]
		if h := listed.Hosts(); !slices.Equal(h, []string{"*.example.com", "b.example.com"}) {
			t.Errorf("hosts %q", h)
		} else {
			h[0] = "changed"
		}
		if m := listed.Methods; !slices.Equal(m, []string{"POST", "GET"}) {
			t.Errorf("methods %q", m)
		}
		if paths := listed.Paths(); !slices.Equal(paths, []string{"/a/{x}"}) {
			t.Errorf("paths %q", paths)
		} else {
			paths[0] = "changed"
		}
		if anyHost.Hosts() != nil || anyHost.Methods != nil {
			t.Errorf("hosts %q, methods %q, want none", anyHost.Hosts(), anyHost.Methods)
		}
	}
	if m := policy.UsualMethods(); len(m) != 7 || m[0] != "GET" {
		t.Errorf("usual methods %q", m)
	}
}

// TestTableIsTheMatcher: for each request that a good policy names, the first entry
// of the table that takes it is the one that wins.
func TestTableIsTheMatcher(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Parse([]policy.File{{Name: file, Data: data}}, goodEnv)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			request, found := strings.CutPrefix(strings.TrimSpace(line), "#> ")
			f := strings.Fields(request)
			if !found || len(f) != 4 || f[1] == "HEAD" {
				continue
			}
			path, err := pattern.ParsePath(f[3])
			if err != nil {
				continue
			}
			host := f[2]
			got := "-"
			for _, e := range p.Table() {
				if e.Takes(f[1], host, path) {
					got = e.Route.ID
					break
				}
			}
			want := "-"
			if r := p.Match(f[1], host, path); r != nil {
				want = r.ID
			}
			if got != want {
				t.Errorf("%s: %s: the table says %s, the matcher %s", file, request, got, want)
			}
		}
	}
}

// TestNear: who else could have been meant, the closest first, and why it was not.
func TestNear(t *testing.T) {
	t.Parallel()
	p := compileText(t, `version: 1
routes:
  - {id: all, match: /a/**, public: true}
  - {id: post, match: "POST /a/{id}", public: true}
  - {id: get, match: "GET /a/{id}", public: true}
  - {id: host, match: {hosts: [x.example.com], paths: ["/a/{id}"]}, public: true}
  - {id: deep, match: /b/c/d, public: true}
  - {id: less, match: /b/x, public: true}
`)
	for _, tt := range []struct{ request, want string }{
		{"GET y /a/7", "all:path post:method host:host"},
		{"GET x.example.com /a/7", "get:host all:host post:method"},
		{"DELETE y /a/7", "post:method get:method host:host"},
		{"GET y /b/c/e", "deep:shared2"},
		{"GET y /b/y", "deep:shared1 less:shared1"},
		{"GET y /zzz", ""},
	} {
		f := strings.Fields(tt.request)
		path, err := pattern.ParsePath(f[2])
		if err != nil {
			t.Fatal(err)
		}
		near, more := p.Near(f[0], f[1], path, 5)
		var got []string
		for _, n := range near {
			why := ""
			switch {
			case !n.TakesPath:
				why = "shared" + string(rune('0'+n.Segment))
			case !n.TakesHost:
				why = "host"
			case !n.TakesMethod:
				why = "method"
			default:
				why = []string{"none", "host", "path", "method"}[n.LostBy]
			}
			got = append(got, n.Route.ID+":"+why)
		}
		if s := strings.Join(got, " "); s != tt.want || more != 0 {
			t.Errorf("%s: %s and %d more, want %s", tt.request, s, more, tt.want)
		}
		if near, more := p.Near(f[0], f[1], path, 1); len(got) > 1 && (len(near) != 1 || more != len(got)-1) {
			t.Errorf("%s: a limit of 1 gives %d and %d more", tt.request, len(near), more)
		}
	}
}

// TestNearSlips: a request that no route takes, and the routes that it differs from by one slip,
// the closest first.
func TestNearSlips(t *testing.T) {
	t.Parallel()
	p := compileText(t, `version: 1
routes:
  - {id: assets, match: "GET /api/v1/assets/{id}", public: true}
  - {id: export, match: "/api/v1/assets/{id}.csv", public: true}
  - {id: users, match: "/api/v1/users", public: true}
  - {id: admin, match: "/admin/**", public: true}
  - {id: keys, match: "/api/v1/api-keys/all", public: true}
  - {id: params, match: "/{a}/{b}/{c}", public: true, client_ips: [192.0.2.0/24]}
  - {id: host, match: {hosts: [x.example.com], paths: ["/Host/only"]}, public: true}
`)
	words := []string{"not", "case", "segment", "length"}
	for _, tt := range []struct{ request, want string }{
		{"GET y /api/v1/Assets/7", "assets:case"},
		{"GET y /API/V1/assets/7.CSV", "export:case assets:case"},
		{"GET y /ADMIN/x/y", ""}, // the parameters take it
		{"GET y /Admin", "admin:case"},
		{"GET y /api/v1/asset/7", "assets:segment"},
		{"GET y /api/v1/apikeys/all", "keys:segment"},
		{"GET y /v1/assets/7/x", ""},
		{"GET y /prefix/api/v1/assets/7", "assets:length"},
		{"GET y /users", "users:length"},
		{"GET y /host/only", "host:case"},
		{"GET y /zzz", ""},
	} {
		f := strings.Fields(tt.request)
		path, err := pattern.ParsePath(f[2])
		if err != nil {
			t.Fatal(err)
		}
		near, _ := p.Near(f[0], f[1], path, 5)
		var got []string
		for _, n := range near {
			if n.Alike != policy.AlikeNot {
				got = append(got, n.Route.ID+":"+words[n.Alike])
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.request, s, tt.want)
		}
	}
}
