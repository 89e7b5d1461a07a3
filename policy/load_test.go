package policy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
)

// folder writes files, name and content in turn, and returns where they are.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func noEnv(string) (string, bool) { return "", false }

const (
	oneRoute = "version: 1\nroutes: [{id: one, match: /one, public: true}]\n"
	twoRoute = "version: 1\nroutes: [{id: two, match: /two, public: true}]\n"
)

func ids(p *policy.Policy) (ids []string) {
	for _, r := range p.Routes() {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestLoad: a file is a policy, and so is a folder of files, by name.
func TestLoad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		path  string
		want  []string
		admin string
	}{
		{"a file", filepath.Join(folder(t, "p.yaml", oneRoute), "p.yaml"), []string{"one"}, "ADMIN"},
		{"a file of any name", filepath.Join(folder(t, "policy", oneRoute), "policy"), []string{"one"}, "ADMIN"},
		{"a folder", folder(t, "b.yaml", twoRoute, "a.yml", oneRoute), []string{"one", "two"}, "ADMIN"},
		{"what is no policy is left out", folder(t, "a.yaml", oneRoute, "README.md", "#", "a.yaml~", "{", ".b.yaml", "{", "sub.yaml/c.yaml", "{", "sub/d.yaml", "{"), []string{"one"}, "ADMIN"},
		{"line ends of Windows", folder(t, "a.yaml", strings.ReplaceAll("version: 1\nroutes:\n  - id: one\n    match: /one\n    public: true\n", "\n", "\r\n")), []string{"one"}, "ADMIN"},
		{"a byte order mark", folder(t, "a.yaml", "\ufeff"+oneRoute), []string{"one"}, "ADMIN"},
		{"a marker at the beginning", folder(t, "a.yaml", "---\n"+oneRoute), []string{"one"}, "ADMIN"},
		{"lists of another file", folder(t, "a.yaml", "version: 1\nroutes: [{id: one, match: /one, public: true, client_ips: [o]}]\n", "b.yaml", "version: 1\nip_lists: {o: [192.0.2.1]}\nroutes: [{id: two, match: /two, public: true}]\n"), []string{"one", "two"}, "ADMIN"},
		{"the admin role of one file is that of all", folder(t, "a.yaml", oneRoute, "b.yaml", "admin_role: ROOT\n"+twoRoute), []string{"one", "two"}, "ROOT"},
		{"no admin role", folder(t, "a.yaml", "admin_role: \"\"\n"+oneRoute), []string{"one"}, ""},
	} {
		p, err := policy.Load(tt.path, noEnv)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, ids(p)); diff != "" || p.AdminRole() != tt.admin {
			t.Errorf("%s: admin role %q, want %q; routes (-want +got):\n%s", tt.name, p.AdminRole(), tt.admin, diff)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	unreadable := filepath.Join(folder(t, "a.yaml", ""), "a.yaml")
	if err := os.Remove(unreadable); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", unreadable); err != nil {
		t.Fatal(err)
	}
	const list = "ip_lists: {o: [192.0.2.1]}\n"
	for _, tt := range []struct {
		want string // $ is the path
		path string
	}{
		{"$: cannot be read: no such file or directory", filepath.Join(t.TempDir(), "none.yaml")},
		{"$: contains no *.yaml file; a policy needs at least one", folder(t)},
		{"$: contains no *.yaml file; a policy needs at least one\n$/.hidden.yaml: is not read, since its name begins with a dot; remove it from the folder, or rename it\n" +
			"$/policy.json: is not read, since its name does not end in .yaml or .yml; remove it from the folder, or rename it",
			folder(t, "policy.json", "{}", ".hidden.yaml", oneRoute)},
		{"$/a.yaml: cannot be read: no such file or directory", filepath.Dir(unreadable)},
		{"$/a.yaml: is larger than 4 MiB; split it into a folder of files", folder(t, "a.yaml", oneRoute+strings.Repeat("#", 4<<20))},
		// All problems of all files at once, by file.
		{"$/a.yaml:1:10: version: is \"2\"; this warder reads version: 1\n$/b.yaml: is empty; a policy has a version and routes\n$/c.yaml:2: is not YAML: found unexpected end of stream; check the indentation, brackets and quotes of this line and the one before",
			folder(t, "c.yaml", "version: 1\n\"", "b.yaml", "", "a.yaml", "version: 2\nroutes: [{id: one, match: /one, public: true}]\n")},
		{"$/b.yaml:2:15: routes[0].id: \"one\" is also the id of the route at $/a.yaml:2:10; give each route its own (route one)\n$/b.yaml:2:27: routes[0].match: route one and route one ($/a.yaml:2) could both win GET https://example.com/one; make one of them more specific, or remove the path from one",
			folder(t, "a.yaml", oneRoute, "b.yaml", oneRoute)},
		{"$/b.yaml:1:12: ip_lists.o: is already at $/a.yaml:1:12; keep one of the two", folder(t, "a.yaml", list+oneRoute, "b.yaml", list+twoRoute)},
		{"$/b.yaml:1:13: admin_role: is already set at $/a.yaml:1:13; set it in one file", folder(t, "a.yaml", "admin_role: A\n"+oneRoute, "b.yaml", "admin_role: A\n"+twoRoute)},
		// A default of one file is none of another.
		{"$/a.yaml:2:71: routes[0].client_ips[0]: there is no ip_list \"plant\"; use o (route one)", folder(t, "a.yaml", "version: 1\nroutes: [{id: one, match: {paths: [/one]}, public: true, client_ips: [plant]}]\n", "b.yaml", list+"client_ips: [o]\n"+twoRoute)},
	} {
		p, err := policy.Load(tt.path, noEnv)
		if err == nil || p != nil {
			t.Errorf("%s is loaded", tt.path)
			continue
		}
		if diff := cmp.Diff(tt.want, strings.ReplaceAll(err.Error(), tt.path, "$")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if _, err := policy.Parse(nil, noEnv); err == nil {
		t.Error("no files are a policy")
	}
}

// TestFolderLeavesOut: what is in the folder of a policy and is not read is told, but for
// what editors and Kubernetes leave there. A pipe is never read.
func TestFolderLeavesOut(t *testing.T) {
	t.Parallel()
	const (
		dot      = "is not read, since its name begins with a dot; remove it from the folder, or rename it"
		capitals = "is not read, since its name ends in capitals; rename it to *.yaml"
		ending   = "is not read, since its name does not end in .yaml or .yml; remove it from the folder, or rename it"
		inside   = "is a folder and is not read; put its files into the folder of the policy"
	)
	for name, want := range map[string]string{
		"b.YAML": capitals, "b.Yml": capitals, "c.json": ending, ".b.yaml": dot, "sub/b.yaml": inside, "sub.yaml/b.yaml": inside,
		"b.yaml.bak": ending, "b.yaml.orig": ending, "b.yaml.disabled": ending, "b": ending, "b.yaml ": ending, "b.yam": ending, "b.toml": ending,
		"b.yml": "", "b.yaml~": "", ".b.yaml.swp": "", "..data/b.yaml": "", "..2026_01_31_00_00_00.1/b.yaml": "", ".#b.yaml": "", "#b.yaml#": "",
		".DS_Store": "", ".git/config": "", ".gitignore": "", "README.md": "", "4913": "", "lost+found/x": "",
	} {
		dir := folder(t, "a.yaml", oneRoute, name, twoRoute)
		p, err := policy.Load(dir, noEnv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		for _, w := range p.Warnings() {
			got += strings.ReplaceAll(w.String(), dir, "$") + "\n"
		}
		if first, _, _ := strings.Cut(name, "/"); want != "" {
			want = "$/" + first + ": " + want + "\n"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	dir := folder(t, "a.yaml", oneRoute)
	pipe := filepath.Join(dir, "b.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:  pipe + ": is not a regular file; remove it from the folder, or put a file in its place",
		pipe: pipe + ": is not a regular file; name a file, or a folder of *.yaml",
	} {
		if _, err := policy.Load(path, noEnv); err == nil || err.Error() != want { // would hang here
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestEnvironment: ${VAR} in ip_lists is read at load.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		value, set := map[string]string{"OFFICE": "192.0.2.0/24, 2001:db8::1\n198.51.100.7", "HOME_NET": "203.0.113.9"}[name]
		return value, set
	}
	p, err := policy.Load(folder(t, "a.yaml", `
version: 1
ip_lists:
  office: ${OFFICE}
  both: ["${OFFICE}", "${HOME_NET}", 10.0.0.0/8]
routes:
  - {id: one, match: /one, public: true, client_ips: [office]}
  - {id: two, match: /two, public: true, client_ips: [both]}
`), env)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"[192.0.2.0/24 2001:db8::1/128 198.51.100.7/32]", "[192.0.2.0/24 2001:db8::1/128 198.51.100.7/32 203.0.113.9/32 10.0.0.0/8]"} {
		var got []string
		for _, prefix := range p.Routes()[i].ClientIPs.Prefixes() {
			got = append(got, prefix.String())
		}
		if joined := "[" + strings.Join(got, " ") + "]"; joined != want {
			t.Errorf("route %d: %s, want %s", i, joined, want)
		}
	}
}

// TestHash: the same bytes under the same names, the same hash, and none else.
func TestHash(t *testing.T) {
	t.Parallel()
	hash := func(files ...policy.File) string {
		p, err := policy.Parse(files, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		return p.Hash()
	}
	one, two := policy.File{Name: "a", Data: []byte(oneRoute)}, policy.File{Name: "b", Data: []byte(twoRoute)}
	seen := map[string]bool{}
	for _, h := range []string{
		hash(one), hash(two), hash(one, two), hash(two, one), hash(policy.File{Name: "c", Data: one.Data}), hash(policy.File{Name: "a", Data: []byte(oneRoute + "\n")}),
	} {
		if len(h) != 64 || seen[h] {
			t.Errorf("hash %s is no SHA-256 or another policy's", h)
		}
		seen[h] = true
	}
	if first, again := hash(one), hash(one); first != again {
		t.Error("one policy has two hashes")
	}
}

// TestWarnings: what is allowed but probably not meant.
func TestWarnings(t *testing.T) {
	t.Parallel()
	p, err := policy.Load(filepath.Join(folder(t, "a.yaml", "version: 1\nip_lists: {used: [192.0.2.1], unused: [192.0.2.2]}\nroutes: [{id: one, match: /one, public: true, client_ips: [used]}]\n"), "a.yaml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if found := p.Warnings(); len(found) != 1 || found[0].Field != "ip_lists.unused" || found[0].Line != 2 {
		t.Errorf("warnings: %v", found)
	}
}

// TestContains: the zero address and spellings that were not made canonical are in
// no list.
func TestContains(t *testing.T) {
	t.Parallel()
	p := compileText(t, "version: 1\nip_lists: {o: [192.0.2.0/24, \"2001:db8::/32\", \"fe80::/10\", 0.0.0.0/32]}\nroutes: [{id: one, match: /one, public: true, client_ips: [o]}]\n")
	set := p.Routes()[0].ClientIPs
	for _, tt := range []struct {
		want bool
		addr string
	}{
		{true, "192.0.2.0"}, {true, "192.0.2.255"}, {false, "192.0.3.0"}, {true, "2001:db8:ffff::1"}, {false, "2001:db9::"},
		{false, "::ffff:192.0.2.1"}, {false, "fe80::1%eth0"}, {true, "fe80::1"}, {true, "0.0.0.0"}, {false, "::"},
	} {
		if got := set.Contains(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s is in the list: %v, want %v", tt.addr, got, tt.want)
		}
	}
	if set.Contains(netip.Addr{}) {
		t.Error("no address is in the list")
	}
	if got := set.Names(); len(got) != 1 || got[0] != "o" {
		t.Errorf("names %v", got)
	}
}

func compileText(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
