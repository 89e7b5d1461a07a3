package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/authz/policytest"
)

// testCorpus runs the decision corpus through a real Envoy. For each file, warder runs with its
// policy and configuration, its facts are in a real Redis and a real Postgres, and an application
// records the requests that it gets.
//
// If remembers is true, warder caches the answers of the stores, which must not change any
// decision.
func testCorpus(t *testing.T, leaks *leaks, remembers bool) {
	r := newRig(t, leaks, authztest.StartRedis(t, "e2e-c4n4ry-redis-password"), authztest.StartPostgres(t))
	files := authztest.LoadCorpus(t, corpusDir)
	m := newMesh(t)
	base := r.startEnvoy(t, false, func(root map[string]any) {
		withPatience(root)
		withChosenRoutes(root, files, "envoy.filters.http.ext_authz")
		m.add(t, root)
	})
	var err error
	if m.address, err = r.envoy.Listener(t.Context(), meshListener); err != nil {
		t.Fatal(err)
	}
	authztest.RunCorpus(t, corpusDir, func(t *testing.T, f *policytest.File) policytest.Depth {
		r.secret = []byte(policytest.Secret)
		r.putFacts(t, f)
		config := r.corpusConfig(f)
		if remembers {
			config["sessions"].(map[string]any)["consistency"] = "tracked"
			config["directory"].(map[string]any)["max_staleness"] = "10m"
		}
		r.startWarder(t, f.Policy, config)
		return &envoyDepth{rig: r, address: strings.TrimPrefix(base, "http://"), file: f, mesh: m, overTLS: meetsPeers(f) && !remembers}
	})
	if !remembers {
		t.Run("peers", func(t *testing.T) { testPeers(t, r, m) })
	}
}

const corpusDir = repository + "/testdata/decisions"

// chosenHeader selects the Envoy route that chooses a route of the policy. A production Envoy
// uses paths and hosts for that.
const chosenHeader = "x-corpus-route"

// withChosenRoutes adds an Envoy route for each policy route that a case chooses. filter is the
// name of the filter that asks warder. The new routes lead where the last one leads.
func withChosenRoutes(root map[string]any, files []*policytest.File, filter string) {
	host := manager(root)["route_config"].(map[string]any)["virtual_hosts"].([]any)[0].(map[string]any)
	routes := host["routes"].([]any)
	cluster := routes[len(routes)-1].(map[string]any)["route"].(map[string]any)["cluster"]
	seen := map[string]bool{}
	for _, f := range files {
		for _, c := range f.Cases {
			if c.ChosenRoute == nil || seen[*c.ChosenRoute] {
				continue
			}
			seen[*c.ChosenRoute] = true
			host["routes"] = append([]any{map[string]any{
				"match": map[string]any{"prefix": "/", "headers": []any{map[string]any{
					"name": chosenHeader, "string_match": map[string]any{"exact": "id=" + *c.ChosenRoute},
				}}},
				"route": map[string]any{"cluster": cluster, "timeout": "15s"},
				"typed_per_filter_config": map[string]any{filter: map[string]any{
					"@type":          "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
					"check_settings": map[string]any{"context_extensions": map[string]any{"warder.route": *c.ChosenRoute}},
				}},
			}}, host["routes"].([]any)...)
		}
	}
}

// putFacts fills the stores with the facts of a corpus file. The columns of the tables have the
// type text, so that they can hold invalid values.
func (r *rig) putFacts(t *testing.T, f *policytest.File) {
	id := "bigint"
	if f.TextIDs {
		id = "text"
	}
	var sql strings.Builder
	fmt.Fprintf(&sql, `
		DROP TABLE IF EXISTS api_keys, users CASCADE;
		CREATE TABLE users (id %[1]s PRIMARY KEY, is_active boolean, roles text%[2]s);
		CREATE TABLE api_keys (prefix text, key_hash text UNIQUE, scopes text, is_active boolean, expires_at timestamptz, user_id %[1]s%[3]s);`,
		id, each(f.UserAttributes(), func(name string) string { return name + " text" }), each(f.APIKeyAttributes(), func(name string) string { return name + " text" }))
	for _, u := range f.Users {
		fmt.Fprintf(&sql, "INSERT INTO users VALUES (%s, %s, %s%s);\n", literal(u.ID), truth(u.Flag()), literal(u.Column()),
			each(f.UserAttributes(), func(name string) string { return literal(u.Attributes[name]) }))
	}
	for _, k := range f.APIKeys {
		expires := ""
		if at := k.ExpiresAt(time.Now()); !at.IsZero() {
			expires = at.UTC().Format(time.RFC3339Nano)
		}
		r.leaks.secret("an API key", k.Key)
		fmt.Fprintf(&sql, "INSERT INTO api_keys VALUES (%s, %s, %s, %s, %s, %s%s);\n", literal(k.Prefix),
			literal(r.leaks.secret("a key hash", k.Hash().Hex())), literal(k.Column()), truth(k.Flag()), literal(expires), literal(k.Owner),
			each(f.APIKeyAttributes(), func(name string) string { return literal(k.Attributes[name]) }))
	}
	r.postgres.Exec(t, sql.String())
	r.redis.Do(t, "FLUSHALL")
	for _, s := range f.Sessions {
		r.redis.Do(t, "SET", "session:"+s.User+":"+s.Session, "1")
	}
	for _, s := range f.Revocations {
		key, value := f.RevocationTemplate(s), "1"
		if key == "" {
			t.Fatalf("%s: %+v has no template, which Redis needs", f.Name, s)
		}
		if s.Before != "" {
			value = strconv.FormatInt(s.Time(time.Now()).Unix(), 10)
		}
		r.redis.Do(t, "SET", strings.NewReplacer("{user_id}", s.User, "{jti}", s.Session).Replace(key), value)
	}
}

// each returns an item for each name, with a comma before it.
func each(names []string, item func(string) string) (list string) {
	for _, name := range names {
		list += ", " + item(name)
	}
	return list
}

// literal returns a text as an SQL literal, and NULL for "".
func literal(s string) string {
	if s == "" {
		return "NULL"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func truth(b *bool) string {
	if b == nil {
		return "NULL"
	}
	return fmt.Sprint(*b)
}

// corpusConfig returns the part of warder.yaml that a corpus file sets.
func (r *rig) corpusConfig(f *policytest.File) map[string]any {
	c := f.Config
	jwt := map[string]any{"keys": r.corpusKeys(f, "jwt", c.JWT.Keys)}
	var issuers []any
	for i, is := range c.JWT.Issuers {
		issuer := map[string]any{"issuer": is.Issuer, "audiences": is.Audiences, "keys": r.corpusKeys(f, fmt.Sprintf("issuer%d-", i), is.Keys)}
		if is.UserClaim != "" {
			issuer["user_claim"] = is.UserClaim
		}
		if is.SessionClaim != "" {
			issuer["session_claim"] = is.SessionClaim
		}
		if is.RolesClaim != "" {
			issuer["roles_claim"] = is.RolesClaim
		}
		if is.Roles != "" {
			issuer["roles"] = is.Roles
		}
		if is.ActiveClaim != "" {
			issuer["active_claim"] = is.ActiveClaim
		}
		if is.Attributes != nil {
			issuer["attributes"] = is.Attributes
		}
		issuers = append(issuers, issuer)
	}
	client := map[string]any{}
	identity := map[string]any{}
	set := func(in map[string]any, key string, given bool, value any) {
		if given {
			in[key] = value
		}
	}
	set(jwt, "issuers", issuers != nil, issuers)
	set(jwt, "issuer", c.JWT.Issuer != "", c.JWT.Issuer)
	set(jwt, "audiences", c.JWT.Audiences != nil, c.JWT.Audiences)
	set(jwt, "leeway", c.JWT.Leeway != 0, c.JWT.Leeway.String())
	set(jwt, "refused_uses", c.JWT.RefusedUses != nil, c.JWT.RefusedUses)
	set(jwt, "accepted_uses", c.JWT.AcceptedUses != nil, c.JWT.AcceptedUses)
	set(jwt, "user_claim", c.JWT.UserClaim != "", c.JWT.UserClaim)
	set(jwt, "session_claim", c.JWT.SessionClaim != "", c.JWT.SessionClaim)
	set(jwt, "roles_claim", c.JWT.RolesClaim != "", c.JWT.RolesClaim)
	set(jwt, "active_claim", c.JWT.ActiveClaim != "", c.JWT.ActiveClaim)
	set(jwt, "attributes", c.JWT.Attributes != nil, c.JWT.Attributes)
	set(identity, "attributes", c.Identity.Attributes != nil, c.Identity.Attributes)
	set(client, "source", c.ClientIP.Source != "", string(c.ClientIP.Source))
	set(client, "trusted_proxies", c.ClientIP.TrustedProxies != nil, texts(c.ClientIP.TrustedProxies))
	set(client, "xff_num_trusted_hops", c.ClientIP.TrustedHops != 0, c.ClientIP.TrustedHops)
	set(client, "header", c.ClientIP.Header != "", c.ClientIP.Header)
	set(identity, "headers", c.Identity.Headers != nil, c.Identity.Headers)
	set(identity, "remove_api_key", c.Identity.RemoveAPIKey != nil, c.Identity.RemoveAPIKey)
	set(identity, "remove_authorization", c.Identity.RemoveAuthorization, true)
	set(identity, "remove_credentials", c.Identity.RemoveCredentials, true)
	set(jwt, "sources", c.JWT.Sources != nil, sourceKeys(c.JWT.Sources))
	directory := map[string]any{"database_url_file": r.write("database", r.postgres.URL()), "timeout": "8s"}
	set(directory, "users", c.Directory.Users != "", c.Directory.Users)
	set(directory, "users_query", c.Directory.UsersQuery != "", c.Directory.UsersQuery)
	sessions := map[string]any{"redis_url_file": r.write("redis", redisURL(r.redis, "")), "timeout": "8s"}
	set(sessions, "rule", c.Sessions.Rule != "", c.Sessions.Rule)
	set(sessions, "key_template", c.Sessions.KeyTemplate != nil, c.Sessions.KeyTemplate)
	set(sessions, "revoked_before_template", c.Sessions.RevokedBefore != "", c.Sessions.RevokedBefore)
	config := map[string]any{
		"jwt":       jwt,
		"deadline":  "10s",
		"sessions":  sessions,
		"directory": directory,
	}
	if names := f.UserAttributes(); names != nil {
		directory["users_query"] = "SELECT is_active, roles, " + strings.Join(names, ", ") + " FROM users WHERE id = $1"
	}
	if names := f.APIKeyAttributes(); names != nil {
		directory["api_keys_query"] = "SELECT prefix, scopes, is_active, expires_at, user_id, " + strings.Join(names, ", ") + " FROM api_keys WHERE key_hash = $1"
	}
	set(config, "client_ip", len(client) > 0, client)
	set(config, "identity", len(identity) > 0, identity)
	set(config, "api_key", c.APIKey.Header != "", map[string]any{"header": c.APIKey.Header})
	set(config, "api_key", c.APIKey.Sources != nil, map[string]any{"sources": sourceKeys(c.APIKey.Sources)})
	set(config, "strip_headers", c.StripHeaders != nil, c.StripHeaders)
	return config
}

// corpusKeys returns keys of a corpus file, each in a file whose name begins with a text.
func (r *rig) corpusKeys(f *policytest.File, file string, keys []policytest.Key) []any {
	out := make([]any, len(keys))
	for i, k := range keys {
		key := map[string]any{"algorithm": k.Algorithm, "kid": k.ID}
		if name := fmt.Sprintf("%s%d", file, i); k.Signer == "" {
			key["secret_file"] = r.write(name, r.leaks.secret("a token secret", k.Secret))
		} else {
			key["public_key_file"] = r.write(name, f.PublicKey(k.Signer))
		}
		out[i] = key
	}
	return out
}

// sourceKeys returns sources of credentials as warder.yaml has them.
func sourceKeys(sources []policytest.Source) (list []map[string]string) {
	for _, s := range sources {
		keys := map[string]string{}
		for key, value := range map[string]string{
			"header": s.Header, "cookie": s.Cookie, "query": s.Query, "websocket_protocol": s.WebSocketProtocol, "scheme": s.Scheme,
		} {
			if value != "" {
				keys[key] = value
			}
		}
		list = append(list, keys)
	}
	return list
}

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return out
}

// envoyDepth is the depth that sends a case through Envoy.
type envoyDepth struct {
	rig     *rig
	address string
	file    *policytest.File
	mesh    *mesh
	overTLS bool // also for clients without a certificate
}

func (d *envoyDepth) Kind() policytest.DepthKind { return policytest.DepthEnvoy }

func (d *envoyDepth) Do(ctx context.Context, c *policytest.Case) (policytest.Outcome, error) {
	var out policytest.Outcome
	request, err := c.Build(time.Now())
	if err != nil {
		return out, err
	}
	for _, s := range request.Secrets {
		d.rig.leaks.secret("a credential of the corpus", s)
	}
	before, _ := d.rig.upstream.seen()
	response, body, err := d.send(ctx, request)
	if err != nil {
		return out, err
	}
	after, upstream := d.rig.upstream.seen()
	out.HitsBefore, out.HitsAfter, out.Secrets = int64(before), int64(after), request.Secrets
	out.Status = response.StatusCode
	out.Allowed = response.StatusCode == http.StatusOK
	if !c.Wanted(policytest.DepthEnvoy).ByProxy {
		if out.Reason, err = d.reason(ctx); err != nil {
			return out, err
		}
	}
	if out.Allowed {
		out.Upstream = fields(upstream)
		return out, nil
	}
	// Every response of this Envoy has these headers.
	for _, name := range []string{"Date", "Server", "Connection", "Content-Length"} {
		response.Header.Del(name)
	}
	out.Response, out.Body = fields(response.Header), body
	return out, nil
}

// send sends the request from the address of its peer. It writes the bytes itself, because a client
// library would change or refuse some requests.
func (d *envoyDepth) send(ctx context.Context, r policytest.Request) (*http.Response, string, error) {
	conn, err := d.dial(ctx, r)
	if err != nil {
		return nil, "", err
	}
	return d.ask(conn, r)
}

func (d *envoyDepth) dial(ctx context.Context, r policytest.Request) (net.Conn, error) {
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.Peer, 0)), Timeout: patience}
	switch {
	case r.Principal == "" && !d.overTLS:
		return dialer.DialContext(ctx, "tcp", d.address)
	case r.Principal == "":
		return d.mesh.dial(ctx, dialer, nil)
	}
	cert, err := d.mesh.certificateFor(r.Principal)
	if err != nil {
		return nil, err
	}
	return d.mesh.dial(ctx, dialer, cert)
}

// ask sends the request, reads the response and closes the connection.
func (d *envoyDepth) ask(conn net.Conn, r policytest.Request) (*http.Response, string, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, "", err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", r.Method, r.Path, r.Host)
	if r.ChosenRoute != nil {
		fmt.Fprintf(&text, "%s: id=%s\r\n", chosenHeader, *r.ChosenRoute)
	}
	for _, h := range r.Headers {
		fmt.Fprintf(&text, "%s: %s\r\n", h[0], h[1])
	}
	text.WriteString("\r\n")
	if _, err := conn.Write(text.Bytes()); err != nil {
		return nil, "", err
	}
	var whole bytes.Buffer
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &whole)), &http.Request{Method: r.Method})
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", err
	}
	_, _ = d.rig.leaks.sink("responses").Write(whole.Bytes())
	return response, string(body), nil
}

// reason returns the reason of the next line of the decision log.
func (d *envoyDepth) reason(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case line := <-d.rig.warder.decisions:
		var decision struct{ Reason string }
		if err := json.Unmarshal(line, &decision); err != nil || decision.Reason == "" {
			return "", fmt.Errorf("decision log: %w in %q", err, line)
		}
		return decision.Reason, nil
	case <-ctx.Done():
		return "", errors.New("the decision log has no line for this request")
	}
}

// fields lists the fields of a header, with repeated fields.
func fields(h http.Header) (all [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			all = append(all, [2]string{name, value})
		}
	}
	return all
}

// A lineWriter splits its input into lines and sends them to one of two channels: lines of the
// access log to accesses and all others to decisions. It drops a line if the channel is full.
type lineWriter struct {
	decisions, accesses chan<- []byte
	partial             []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		line, rest, found := bytes.Cut(w.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		lines := w.decisions
		if bytes.Contains(line, []byte(`"log":"access"`)) {
			lines = w.accesses
		}
		select {
		case lines <- bytes.Clone(line):
		default:
		}
		w.partial = bytes.Clone(rest)
	}
}
