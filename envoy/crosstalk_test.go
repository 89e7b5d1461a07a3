package envoy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/authz/authztest"
)

// crowd is a directory of many users. User n has a role of its own. Some users have so many
// more roles that their responses outgrow the buffers, and every seventh user is logged out.
// The directory answers with a short delay, so that checks are cancelled in the middle of a
// lookup.
type crowd struct{}

const crowded = 40

func (crowd) Alive(ctx context.Context, session authz.Session) (bool, error) {
	n, err := strconv.Atoi(session.UserID)
	if err != nil || session.ID != "s-"+session.UserID {
		return false, err
	}
	return n%7 != 0, pause(ctx)
}

func (crowd) User(ctx context.Context, id string) (authz.User, error) {
	n, err := strconv.Atoi(id)
	if err != nil {
		return authz.User{}, authz.ErrNotFound
	}
	return authz.User{Active: true, Roles: crowdRoles(n)}, pause(ctx)
}

func (crowd) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	for n := range crowded {
		if hash == authz.HashAPIKey(crowdKey(n)) {
			return authz.APIKey{Prefix: fmt.Sprintf("wk_%d", n), Active: true, Scopes: crowdRoles(n)}, pause(ctx)
		}
	}
	return authz.APIKey{}, authz.ErrNotFound
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(rand.IntN(300)) * time.Microsecond):
		return nil
	}
}

func crowdKey(n int) string { return fmt.Sprintf("wk_live_%010d", n) }

func crowdRoles(n int) authz.Names {
	roles := []string{fmt.Sprintf("OWN-%d", n)}
	for i := range []int{0, 3, 150, 1500}[n%4] { // below, and above what is kept of buffers
		roles = append(roles, fmt.Sprintf("ROLE-%d-%04d", n, i))
	}
	names, _ := authz.NewNames(roles)
	return names
}

// A crowdCheck is a check of one user of the crowd and its expected response.
type crowdCheck struct {
	in      *authv3.CheckRequest
	reason  string
	set     map[string]string
	removed string // in addition to what is always removed
	about   string // the user in the metadata
}

// crowdChecks returns a check of each kind for one user.
func crowdChecks(t *testing.T, n int) []crowdCheck {
	t.Helper()
	id, list := strconv.Itoa(n), strings.Join(crowdRoles(n), ",")
	forged := authz.Header{Name: "x-warder-of-" + id, Value: "forged"}
	token := authz.Header{Name: "authorization", Value: "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(testSecret), Claims: map[string]any{
		"sub": id, "jti": "s-" + id, "exp": time.Now().Add(time.Hour).Unix(),
	}})}
	filler := authz.Header{Name: "x-filler", Value: strings.Repeat(id+".", []int{1, 100, 3000}[n%3])}
	session := crowdCheck{
		in: checkRequest("GET", "/users/"+id, filler, token, forged), reason: "session", about: id, removed: forged.Name,
		set: map[string]string{"x-warder-auth-method": "session", "x-warder-user": id, "x-warder-roles": list, "x-warder-session": "s-" + id, "x-warder-client-ip": "192.0.2.7"},
	}
	if n%7 == 0 {
		session.reason, session.set = "session_revoked", nil
	}
	checks := []crowdCheck{
		session,
		{in: checkRequest("GET", "/public/"+id, forged, token, filler), reason: "public", removed: forged.Name, set: map[string]string{"x-warder-client-ip": "192.0.2.7"}},
		{
			in: checkRequest("GET", "/keys/"+id, authz.Header{Name: "x-api-key", Value: crowdKey(n)}, forged), reason: "api_key", removed: forged.Name,
			set: map[string]string{"x-warder-auth-method": "api_key", "x-warder-key-prefix": "wk_" + id, "x-warder-scopes": list, "x-warder-client-ip": "192.0.2.7"},
		},
		{in: checkRequest("GET", "/users/"+id, filler), reason: "credentials_missing"},
	}
	for _, c := range slices.Clone(checks) { // in the other form
		c.in = proto.CloneOf(c.in)
		http := c.in.GetAttributes().GetRequest().GetHttp()
		http.Headers = map[string]string{}
		for _, h := range http.GetHeaderMap().GetHeaders() {
			http.Headers[h.GetKey()] = string(h.GetRawValue())
		}
		http.HeaderMap = nil
		checks = append(checks, c)
	}
	return checks
}

// wrong returns what is wrong with a response, or "" if it is the expected one.
func (c crowdCheck) wrong(out *authv3.CheckResponse) string {
	set, removed := sent(out)
	switch {
	case saidOf(out, "reason") != c.reason || saidOf(out, "user") != c.about:
		return "metadata"
	case c.set == nil && !isDeny(out) || c.set != nil && !isAllow(out):
		return "shape"
	case c.set == nil:
		return ""
	case len(set) != len(c.set):
		return "number of headers"
	}
	for name, value := range c.set {
		if set[name] != value {
			return name
		}
	}
	others := slices.DeleteFunc(removed, func(name string) bool { return !strings.HasPrefix(name, "x-warder-of-") })
	if len(others) != 1 || others[0] != c.removed {
		return "removals"
	}
	return ""
}

// TestNoCrossTalk sends checks of many users at once over shared connections, and cancels some
// of them. Each response must be that of the user who sent the check.
func TestNoCrossTalk(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Decider: newEngineOn(t, crowd{}), Deadline: 10 * time.Second})
	_, first := serve(t, s)
	second, err := grpc.NewClient(first.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Close() })
	var all []crowdCheck
	for n := range crowded {
		all = append(all, crowdChecks(t, n)...)
	}
	var wg sync.WaitGroup
	for worker := range 24 {
		wg.Go(func() {
			client := authv3.NewAuthorizationClient([]*grpc.ClientConn{first, second}[worker%2])
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 150 {
				c := all[random.IntN(len(all))]
				ctx, cancel := context.WithCancel(t.Context())
				leaves := random.IntN(4) == 0
				if leaves {
					time.AfterFunc(time.Duration(random.IntN(1500))*time.Microsecond, cancel)
				}
				out, err := client.Check(ctx, c.in)
				cancel()
				switch {
				case err != nil && leaves:
				case err != nil:
					t.Errorf("%s: %v", c.in.GetAttributes().GetRequest().GetHttp().GetPath(), err)
				default:
					// A peer that cancels just as the response arrives may get either.
					if why := c.wrong(out); why != "" && (!leaves || isAllow(out)) {
						t.Errorf("%s: %s of another: %v", c.in.GetAttributes().GetRequest().GetHttp().GetPath(), why, out)
					}
				}
			}
		})
	}
	wg.Wait()
}
