package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"warder/authz/authztest"
)

// testLogged sends requests through an Envoy that flushes its access log after each of them.
func testLogged(t *testing.T, leaks *leaks) {
	r := newRig(t, leaks, authztest.StartRedis(t, ""), authztest.StartPostgres(t))
	base := r.startEnvoy(t, false, func(root map[string]any) {
		withPatience(root)
		log := manager(root)["access_log"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
		log["additional_request_headers_to_log"] = []any{"authorization", "cookie", "x-api-key", "x-note", "content-type"}
		log["additional_response_headers_to_log"] = []any{"set-cookie", "www-authenticate"}
		log["common_config"].(map[string]any)["buffer_flush_interval"] = "0.05s"
		withoutOwnGuard(root)
	})
	token, apiKey := r.seed(t)
	t.Run("secrets", func(t *testing.T) { testAccessLog(t, r, base, token, apiKey) })
	t.Run("shadow", func(t *testing.T) { testShadow(t, r, base, token, apiKey) })
}

// testAccessLog sends secrets in all parts of a request to an Envoy that logs all of them.
// [TestEndToEnd] searches the output for them at its end.
func testAccessLog(t *testing.T, r *rig, base, token, apiKey string) {
	leaks := r.leaks
	r.startWarder(t, faultPolicy, nil)

	n := 0
	canary := func() string {
		n++
		return leaks.secret("a canary", fmt.Sprintf("acc3ss-c4n4ry-%04d", n))
	}
	with := func(headers map[string]string, more ...string) map[string]string {
		for i := 0; i < len(more); i += 2 {
			headers[more[i]] = more[i+1]
		}
		return headers
	}
	for _, request := range []struct {
		path    string
		headers map[string]string
	}{
		{"/open?password=" + canary() + "&page=2&api_key=" + canary(), nil},
		{"/open?%70assword=" + canary() + "&access%5Ftoken=" + canary(), nil},
		{"/open?next=%2Flogin%3Ftoken%3D" + canary(), nil},
		{"/open?q=%7B%22secret%22%3A%22" + canary() + "%22%7D", nil},
		{"/user?token=" + token, with(bearer(token), "Cookie", "sid="+canary()+"; theme="+canary(), "Referer", "https://app.example.com/reset?token="+canary())},
		{"/key", with(key(apiKey), "User-Agent", "curl/8 password="+canary(), "X-Note", `{"user":"ada","password":"`+canary()+`"}`)},
		{"/key?x_api_key=" + apiKey, with(key(apiKey+"x"), "Content-Type", "text/plain; session="+canary())},
		{"/nowhere/" + token + "?pin=" + canary(), bearer(token)},
		{"/user", bearer("not-a-token-" + canary())},
	} {
		r.get(t, base, request.path, request.headers)
		select {
		case line := <-r.warder.accesses:
			var entry struct {
				Method, Path, Decision string
				Status                 int
			}
			if err := json.Unmarshal(line, &entry); err != nil || entry.Method != "GET" || entry.Status == 0 || entry.Decision == "" || entry.Path == "" {
				t.Errorf("%s: %v in %s", request.path, err, line)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the access log has no line for the request", request.path)
		}
	}
}
