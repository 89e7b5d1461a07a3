package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
)

// testStandby sets DATABASE_URL to a standby. Its answers are not accepted, and the log and
// /readyz say so, until it is promoted. With directory.standby its answers are accepted from
// the beginning.
func testStandby(t *testing.T, leaks *leaks) {
	redis, primary := authztest.StartRedis(t, "e2e-c4n4ry-redis-password"), authztest.StartPostgresServer(t)
	r := newRig(t, leaks, redis, primary)
	base := r.startEnvoy(t, false, nil)
	token, apiKey := r.seed(t)
	standby := primary.StartStandby(t)
	directory := func(more string) map[string]any {
		settings := map[string]any{"database_url_file": r.write("standby", standby.URL())}
		if more != "" {
			settings[more] = true
		}
		return map[string]any{"directory": settings}
	}

	const message = "the server is a standby"
	said := len(leaks.text("warder stderr"))
	r.launchWarder(t, faultPolicy, directory(""))
	r.waitForSocket(t)
	before, _ := r.upstream.seen()
	for path, credential := range map[string]map[string]string{"/user": bearer(token), "/key": key(apiKey)} {
		r.expect(t, base, path, credential, http.StatusServiceUnavailable)
		r.expectSaid(t, path, r.warder.decisions, said503)
	}
	r.expect(t, base, "/open", nil, http.StatusOK)
	if after, _ := r.upstream.seen(); after != before+1 {
		t.Errorf("%d requests reached the application, want the public one", after-before)
	}
	waitFor(t, "a message about the standby", func() error {
		if log := leaks.text("warder stderr"); !strings.Contains(log[said:], message) || !strings.Contains(log[said:], "directory.standby: true") {
			return errors.New(tailOf(log, 2000))
		}
		return nil
	})
	if err := r.readyz(); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "directory (Postgres)") {
		t.Errorf("/readyz: %v, want a 503 that waits for the directory", err)
	}

	// The standby has replayed a transaction, and so its age is known.
	primary.Exec(t, "INSERT INTO users (id, is_active, roles) VALUES (43, true, '[]')")
	r.startWarder(t, faultPolicy, directory("standby"))
	r.expect(t, base, "/user", bearer(token), http.StatusOK)
	r.expect(t, base, "/key", key(apiKey), http.StatusOK)

	r.launchWarder(t, faultPolicy, directory(""))
	r.waitForSocket(t)
	r.expect(t, base, "/user", bearer(token), http.StatusServiceUnavailable)
	standby.Exec(t, "SELECT pg_promote(true)")
	waitFor(t, "warder to be ready with the promoted server", r.readyz)
	r.expect(t, base, "/user", bearer(token), http.StatusOK)
	r.expect(t, base, "/key", key(apiKey), http.StatusOK)
}

// said503 is the decision of a check whose directory cannot answer.
var said503 = said{Decision: authz.VerdictDeny, Reason: authz.ReasonDirectoryUnavailable.String()}
