package server

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// TestExplainRunning asks a running warder about its policy. The answer must not reveal
// sessions, keys or roles: a valid credential and a forged one get the same answer.
func TestExplainRunning(t *testing.T) {
	t.Parallel()
	store := memory.New(nil)
	store.PutUser("42", authz.User{Active: true})
	store.PutSession("42", "s1", 0)
	s := testSettings(t)
	r := start(t, s, MemoryStores(store))
	url := "http://" + r.Admin.String()
	explain := func(args ...string) (code int, stdout, stderr string) {
		return runCommand(clitest.Environment(), append([]string{"explain", "--url", url}, args...)...)
	}
	for _, test := range []struct {
		want string
		args []string
	}{
		{"ALLOW 200 public, by route public", []string{"GET", "/public"}},
		{"DENY 401 credentials_missing, by route user", []string{"GET", "/user"}},
		{"ALLOW 200 session, by route user", []string{"GET", "/user", "--as-user", "77"}},
		{"DENY 403 route_unmatched", []string{"GET", "/none", "--as-user", "77"}},
		{"DENY 400 path_ambiguous", []string{"GET", "/a//b"}},
	} {
		if code, out, stderr := explain(test.args...); code != 0 || !strings.HasPrefix(out, test.want) {
			t.Errorf("%v: %d, %s%s; want %s", test.args, code, out, stderr, test.want)
		}
	}

	token := mint(t)
	conn := r.dial(insecure.NewCredentials())
	if got, err := r.check(conn, "/user", map[string]string{"authorization": "Bearer " + token}); got != codes.OK || err != nil {
		t.Fatalf("the credential is none: %v, %v", got, err)
	}
	_, good, _ := explain("GET", "/user", "--header", "Authorization: Bearer "+token)
	_, bad, _ := explain("GET", "/user", "--header", "Authorization: Bearer "+token[:len(token)-4]+"AAAA")
	if good != bad || !strings.HasPrefix(good, "DENY 401 token_signature") {
		t.Errorf("a good token and a forged one get different answers:\n%s\n%s", good, bad)
	}

	if code, _, stderr := runCommand(clitest.Environment(), "explain", "--url", "http://"+r.GRPC.String(), "GET", "/user"); code != 1 ||
		stderr != "warder: the server at this address does not speak HTTP/1.1; if it is listen.grpc, give the address of listen.admin\n" {
		t.Errorf("the other listener: %d %s", code, stderr)
	}
	if code, out, _ := explain("GET", "/user", "-o", "json"); code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"reason": "credentials_missing"`) {
		t.Errorf("as JSON: %d %s", code, out)
	}
	if err := os.WriteFile(s.Policy, []byte("version: 1\nroutes: [{id: moved, match: /user, public: true}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "the new policy", func() bool {
		_, out, _ := explain("GET", "/user")
		return strings.HasPrefix(out, "ALLOW 200 public, by route moved")
	})
	if got := r.scrape().Of("warder_decisions_total"); strings.Count(got, "\n") != 0 {
		t.Errorf("what was only asked is counted:\n%s", got)
	}
	for _, secret := range []string{token, clitest.Secret} {
		if strings.Contains(r.log.String()+r.out.String(), secret) {
			t.Error("a question leaves a secret in the logs")
		}
	}
}

// TestExplainHandlerRefuses checks the errors for invalid questions.
func TestExplainHandlerRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, testSettings(t), MemoryStores(memory.New(nil)))
	const get = `{"attributes":{"request":{"http":{"method":"GET","path":"/user"}}}}`
	for _, test := range []struct {
		status int
		want   string
		body   string
		header [2]string
	}{
		{200, `"decision": "deny"`, `{"check_request":` + get + `}`, [2]string{}},
		{200, `"decision": "deny"`, `{"check_request":` + get + `}`, [2]string{"Content-Type", "application/json; charset=utf-8"}},
		{415, "not application/json", `{"check_request":` + get + `}`, [2]string{"Content-Type", "text/plain"}},
		{403, "only requests from its own machine", `{"check_request":` + get + `}`, [2]string{"x-forwarded-for", "203.0.113.9"}},
		{403, "only requests from its own machine", `{"check_request":` + get + `}`, [2]string{"Forwarded", "for=203.0.113.9"}},
		{403, "only requests from its own machine", `{"check_request":` + get + `}`, [2]string{"via", "1.1 proxy"}},
		{403, "only requests from its own machine", `{"check_request":` + get + `}`, [2]string{"X-Real-IP", "203.0.113.9"}},
		{415, "not application/json", `{"check_request":` + get + `}`, [2]string{"Origin", "http://evil.example"}},
		{400, "is not a JSON object", ``, [2]string{}},
		{400, "is not a JSON object", `[]`, [2]string{}},
		{400, "is not a JSON object", `{"check_request":` + get + `} {}`, [2]string{}},
		{400, "is not a JSON object", `{"check_request":` + get + `,"as_users":"42"}`, [2]string{}},
		{400, "check_request is not an envoy.service", `{}`, [2]string{}},
		{400, "check_request has no attributes", `{"check_request":{}}`, [2]string{}},
		{400, "is not a valid user id", `{"check_request":` + get + `,"as_user":"a b"}`, [2]string{}},
		{400, "--roles needs --as-user", `{"check_request":` + get + `,"roles":["ADMIN"]}`, [2]string{}},
		{400, "is not a valid name", `{"check_request":` + get + `,"as_user":"42","roles":["A,B"]}`, [2]string{}},
		{400, "sub is one that", `{"check_request":` + get + `,"as_user":"42","claims":{"sub":"1"}}`, [2]string{}},
		{400, "is not an address", `{"check_request":` + get + `,"client_ip":"office"}`, [2]string{}},
		{400, "use text or json", `{"check_request":` + get + `,"output":"xml"}`, [2]string{}},
		{413, "larger than 1024 KiB", `{"check_request":"` + strings.Repeat("a", 1<<20) + `"}`, [2]string{}},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Admin.String()+"/explain", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if test.header[0] != "" {
			request.Header.Set(test.header[0], test.header[1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != test.status || !strings.Contains(string(body), test.want) {
			t.Errorf("%.80q with %q: %d %s; want %d %s", test.body, test.header, response.StatusCode, body, test.status, test.want)
		}
	}
}

// TestExplainOverSocket checks that clients on a unix socket count as local.
func TestExplainOverSocket(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	s.Listen.Admin = config.Address{Network: "unix", Address: filepath.Join(clitest.SocketDir(t), "a.sock")}
	start(t, s, MemoryStores(memory.New(nil)))
	code, out, stderr := runCommand(clitest.Environment(), "explain", "--url", "unix://"+s.Listen.Admin.Address, "GET", "/public")
	if code != 0 || !strings.HasPrefix(out, "ALLOW 200 public") {
		t.Errorf("through a socket: %d, %s%s", code, out, stderr)
	}
}
