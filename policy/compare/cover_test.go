package compare

import (
	"fmt"
	"strings"
	"testing"

	"warder/policy"
)

// coverWords writes a coverage in short.
func coverWords(c Coverage, operations []Operation) string {
	var lines []string
	for _, i := range c.Missing {
		lines = append(lines, "missing "+operations[i].Method+" "+operations[i].Path)
	}
	for _, a := range c.Apart {
		var ids []string
		for _, r := range a.Routes {
			ids = append(ids, idOf(r))
		}
		lines = append(lines, fmt.Sprintf("apart %s %s %s%q", operations[a.Operation].Method, operations[a.Operation].Path, a.Host, ids))
	}
	for _, e := range c.Idle {
		methods := strings.Join(e.Methods, ",")
		if len(e.Methods) == len(policy.UsualMethods()) {
			methods = "usual"
		}
		lines = append(lines, fmt.Sprintf("idle %s %s%s %s", methods, e.Path, e.Host, e.Route.ID))
	}
	return strings.Join(lines, "\n")
}

func TestCover(t *testing.T) {
	t.Parallel()
	tests := []struct{ want, policy, operations string }{
		{"", "a: GET /a user", "GET /a"},
		{"", "a: GET /a user", "GET /a/"},
		{"", "a: GET /a user", "GET /a\nHEAD /a"},
		{"", "a: /a user", "POST /a"},
		{"", "a: /a/** user", "GET /a/{x}\nPOST /a/{x}/y"},
		{"", "a: /a/{x} user", "GET /a/{other}"},
		{"missing POST /a", "a: GET /a user", "GET /a\nPOST /a"},
		{"missing GET /b\nidle GET /a a", "a: GET /a user", "GET /b"},
		{"idle POST /a a", "a: GET,POST /a user", "GET /a"},
		{"idle usual /b b", "a: /a user\nb: /b user", "GET /a"},
		{"", "a: GET,HEAD /a user", "GET /a"},
		{"missing TRACE /a", "a: /a user", "GET /a\nTRACE /a"},
		{"missing GET /a/{x}", "a: GET /a/me user", "GET /a/{x}"},
		{"missing GET /a/{x}", "a: GET /a/me user", "GET /a/{x}\nGET /a/me"},
		{`apart GET /a/{x} ["b" "a"]`, "a: GET /a/{x} user\nb: GET /a/me user", "GET /a/{x}"},
		{"", "a: GET /a/{x} user\nb: GET /a/me user", "GET /a/{x}\nGET /a/me"},
		{"", "a: GET /a/{x} user\nb: POST /a/me user", "GET /a/{x}\nPOST /a/me"},
		{"idle GET /a/** a", "a: GET /a/** user\nb: GET /a/{x} user", "GET /a/{x}"},
		{"", "a: GET /a on h.ex user", "GET /a"},
		{`apart GET /a/{x} h.ex["b" "a"]`, "a: GET /a/{x} user\nb: GET /a/me on h.ex user", "GET /a/{x}"},
		{"", "a: GET /a/{b}.json user", "GET /a/{sid}.json"},
		{"missing GET /a/{x}", "a: GET /a/{b}.json user", "GET /a/{x}\nGET /a/{b}.json"},
		{"", "a: GET /a/{x} user", "GET /a/{b}.json"},
		{`apart GET /a/{x} ["b" "a"]`, "a: GET /a/{x} user\nb: GET /a/{y}.json user", "GET /a/{x}"},
		{"", "a: GET /a/{x} user\nb: GET /a/{y}.json user", "GET /a/{x}\nGET /a/{b}.json"},
		{`apart GET /a/{b}.json ["b" "a"]`, "a: GET /a/{x}.{y} user\nb: GET /a/x{y}.json user", "GET /a/{b}.json"},
		{"missing GET /a/{x}.{y}", "a: GET /a/{x}.json user", "GET /a/{x}.{y}\nGET /a/{b}.json"},
		{"missing GET /a/{x}.xml\nidle GET /a/{x}.json a", "a: GET /a/{x}.json user", "GET /a/{x}.xml"},
		{"", "a: POST /v1/{n}:cancel user\nb: GET /v1/{n} user", "POST /v1/{name}:cancel\nGET /v1/{name}"},
		{"", "a: GET /{x}/b user\nb: GET /a/{y} user", "GET /a/{y}\nGET /{x}/b"},
	}
	for _, test := range tests {
		var operations []Operation
		for line := range strings.Lines(test.operations) {
			method, path, _ := strings.Cut(strings.TrimSpace(line), " ")
			operations = append(operations, Operation{method, path})
		}
		c, err := Operations(shortPolicy(t, test.policy), operations)
		if err != nil {
			t.Fatal(err)
		}
		if got := coverWords(c, operations); got != test.want {
			t.Errorf("%s\nwith\n%s\ngot\n%s\nwant\n%s", test.policy, test.operations, got, test.want)
		}
	}
	if _, err := Operations(shortPolicy(t, "a: /a user"), []Operation{{"GET", "a"}}); err == nil || !strings.Contains(err.Error(), "does not begin with /") {
		t.Errorf("got %v for a path that is none", err)
	}
}
