package envoy

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/authz"
	"warder/authz/attribute"
)

func TestIdentityConfig(t *testing.T) {
	t.Parallel()
	rename := func(pairs ...string) IdentityConfig {
		c := IdentityConfig{Headers: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			c.Headers[pairs[i]] = pairs[i+1]
		}
		return c
	}
	attributes := func(pairs ...string) IdentityConfig {
		c := IdentityConfig{Attributes: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			c.Attributes[pairs[i]] = pairs[i+1]
		}
		return c
	}
	strip := func(names ...string) IdentityConfig { return IdentityConfig{StripHeaders: names} }
	for _, test := range []struct {
		want   string // in the error; "" for none
		config IdentityConfig
	}{
		{"", IdentityConfig{}},
		{"", rename("user", "x-user-id", "client_ip", "X-Real-IP")},
		{"", rename("user", "x-warder-roles", "roles", "x-warder-user")},
		{"", IdentityConfig{Sources: authz.Sources{APIKeyHeader: "X-Service-Key"}, KeepAPIKey: true}},
		{"", strip()},
		{"", strip("X-Original-Url", "x-real-ip", "cookie", "authorization", "x-original-url")},

		{`identity.headers: unknown key "mail"; use auth_method, user`, rename("mail", "x-mail")},
		{`identity.headers.user: ":path" is a pseudo-header`, rename("user", ":path")},
		{`identity.headers.user: "" is not a header name`, rename("user", "")},
		{`identity.headers.user: "x user" is not a header name`, rename("user", "x user")},
		{`identity.headers.user: "x-user:" is not a header name`, rename("user", "x-user:")},
		{`identity.headers.user: "x-üser" is not a header name`, rename("user", "x-üser")},
		{`"host" has a meaning of its own in HTTP`, rename("user", "Host")},
		{`"authorization" has a meaning`, rename("user", "Authorization")},
		{`"cookie" has a meaning`, rename("user", "cookie")},
		{`"content_length" has a meaning`, rename("user", "Content_Length")},
		{`"transfer-encoding" has a meaning`, rename("user", "transfer-encoding")},
		{`"connection" has a meaning`, rename("user", "connection")},
		{`"x-forwarded-for" is written by proxies`, rename("client_ip", "X-Forwarded-For")},
		{`"x_forwarded_user" is written by proxies`, rename("user", "X_Forwarded_User")},
		{`"x-envoy-external-address" is Envoy's own`, rename("client_ip", "x-envoy-external-address")},
		{`"x-api-key" carries the API key`, rename("user", "x-api-key")},
		{`"x_api_key" carries the API key`, rename("user", "X_API_Key")},
		{`identity.headers.roles: "x-user" is the header of user too`, rename("user", "x-user", "roles", "X-User")},
		{`identity.headers.roles: "x.user" is the header of user too`, rename("user", "x_user", "roles", "x.user")},
		{`identity.headers.roles: "x-warder-roles" is the header of user too`, rename("user", "x-warder-roles")},

		{"", attributes("tenant", "X-Tenant", "mail", "x-warder-mail", "user", "x-account")},
		{`identity.attributes: "x-tenant" is not the name of an attribute`, attributes("x-tenant", "x-tenant")},
		{`identity.attributes.tenant: ":path" is a pseudo-header`, attributes("tenant", ":path")},
		{`identity.attributes.tenant: "" is not a header name`, attributes("tenant", "")},
		{`identity.attributes.tenant: "host" has a meaning`, attributes("tenant", "Host")},
		{`identity.attributes.tenant: "authorization" has a meaning`, attributes("tenant", "Authorization")},
		{`identity.attributes.tenant: "cookie" has a meaning`, attributes("tenant", "cookie")},
		{`identity.attributes.tenant: "x-forwarded-for" is written by proxies`, attributes("tenant", "X-Forwarded-For")},
		{`identity.attributes.tenant: "x-envoy-tenant" is Envoy's own`, attributes("tenant", "x-envoy-tenant")},
		{`identity.attributes.tenant: "x_api_key" carries the API key`, attributes("tenant", "X_API_Key")},
		{`identity.attributes.tenant: "x_warder_user" is the header of user too`, attributes("tenant", "X_Warder_User")},
		{`identity.attributes.tenant: "x_mail" is the header of the attribute mail too`, attributes("tenant", "x_mail", "mail", "x-mail")},
		{`identity.attributes.tenant: "x-user" is the header of user too`, IdentityConfig{Headers: map[string]string{"user": "X-User"}, Attributes: map[string]string{"tenant": "x-user"}}},
		{`identity.attributes.tenant: "x-warder-user" is the header of user too`, IdentityConfig{Headers: map[string]string{"user": "x-user"}, Attributes: map[string]string{"tenant": "x-warder-user"}}},
		{`strip_headers[0]: "x_tenant" is an identity header`, IdentityConfig{Attributes: map[string]string{"tenant": "x-tenant"}, StripHeaders: []string{"X_Tenant"}}},
		{`identity.attributes.tenant: "x.token" carries the token`, IdentityConfig{Attributes: map[string]string{"tenant": "x.token"}, Sources: authz.Sources{Tokens: []authz.Source{{Header: "X-Token"}}}}},

		{`api_key.header: "authorization" has a meaning`, IdentityConfig{Sources: authz.Sources{APIKeyHeader: "Authorization"}}},
		{`api_key.header: "x-warder-key" is removed`, IdentityConfig{Sources: authz.Sources{APIKeyHeader: "x-warder-key"}}},
		{`api_key.header: "x_warder_key" is removed`, IdentityConfig{Sources: authz.Sources{APIKeyHeader: "x_warder_key"}}},
		{`api_key.header: "a key" is not a header name`, IdentityConfig{Sources: authz.Sources{APIKeyHeader: "a key"}}},
		{`api_key.header: "x-api-` + "\u212A" + `ey" is not a header name`, IdentityConfig{Sources: authz.Sources{APIKeyHeader: "x-api-\u212Aey"}}},

		{`strip_headers[1]: ":method" is a pseudo-header`, strip("x-a", ":method")},
		{`strip_headers[0]: "" is not a header name`, strip("")},
		{`strip_headers[0]: "host" is part of the message framing`, strip("Host")},
		{`strip_headers[0]: "content-length" is part of the message framing`, strip("Content-Length")},
		{`strip_headers[0]: "x-envoy-original-path" is set by Envoy`, strip("x-envoy-original-path")},
		{`strip_headers[0]: "x_warder_user" is an identity header`, strip("X_Warder_User")},
	} {
		_, err := newIdentity(test.config)
		if got := ""; err != nil {
			got = err.Error()
			if test.want == "" || !strings.Contains(got, test.want) {
				t.Errorf("%+v: %q, want %q", test.config, got, test.want)
			}
		} else if test.want != "" {
			t.Errorf("%+v is accepted, want %q", test.config, test.want)
		}
	}
	_, err := newIdentity(IdentityConfig{Sources: authz.Sources{APIKeyHeader: "cookie"}, StripHeaders: []string{"host"}, Headers: map[string]string{"user": ":a"}})
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("%d problems reported of 3: %v", n, err)
	}
}

var session = authz.Principal{Method: authz.MethodSession, UserID: "42", SessionID: "s-1", Roles: authz.Names{"CONTROL", "USER"}}
var apiKey = authz.Principal{Method: authz.MethodAPIKey, UserID: "7", KeyPrefix: "wk_live", Scopes: authz.Names{"a:read", "b:read"}}

// everything is a principal with all its fields set. No allow may show all of them.
var everything = authz.Principal{
	Method: authz.MethodSession, UserID: "42", SessionID: "s-1", Roles: authz.Names{"CONTROL", "USER"},
	KeyPrefix: "wk_live", Scopes: authz.Names{"a:read", "b:read"},
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want   string
		reason authz.Reason
		who    authz.Principal
		client string
	}{
		{"client-ip=192.0.2.7", authz.ReasonPublic, everything, "192.0.2.7"},
		{"", authz.ReasonPublic, everything, ""},
		{"client-ip=192.0.2.7", authz.ReasonPreflight, everything, "::ffff:192.0.2.7"},
		{"auth-method=anonymous client-ip=2001:db8::1", authz.ReasonAnonymous, everything, "2001:db8::1"},
		{"auth-method=session user=42 roles=CONTROL,USER session=s-1", authz.ReasonSession, everything, ""},
		{"auth-method=session user=42 session=s-1", authz.ReasonSession, authz.Principal{UserID: "42", SessionID: "s-1"}, ""},
		{"auth-method=api_key user=42 key-prefix=wk_live scopes=a:read,b:read", authz.ReasonAPIKey, everything, ""},
		{"auth-method=api_key", authz.ReasonAPIKey, authz.Principal{}, ""},
		{"client-ip=fe80::1", authz.ReasonPublic, everything, "fe80::1%eth0"},
		// A value that would not arrive unchanged is left out.
		{"auth-method=session roles=B,C", authz.ReasonSession, authz.Principal{UserID: "a\r\nx-admin: 1", SessionID: "\x7f", Roles: authz.Names{"C", "A,ADMIN", " ADMIN", "B", "B", ""}}, ""},
		{"auth-method=api_key scopes=é", authz.ReasonAPIKey, authz.Principal{UserID: " 42", KeyPrefix: "\xff", Scopes: authz.Names{"é", "\xc3"}}, ""},
	} {
		var client netip.Addr
		if test.client != "" {
			client = netip.MustParseAddr(test.client)
		}
		var got []string
		for f, v := range values(test.reason, test.who, client) {
			if v != "" {
				got = append(got, strings.TrimPrefix(defaultHeader(fieldNames[f]), namespace)+"="+v)
			}
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%v %+v: %q, want %q", test.reason, test.who, s, test.want)
		}
	}
	for _, reason := range authz.Reasons() {
		if !reason.Allows() && values(reason, everything, netip.Addr{}) != [fieldCount]string{} {
			t.Errorf("%v tells the upstream something", reason)
		}
	}
}

// TestMutations compares both lists in full.
func TestMutations(t *testing.T) {
	t.Parallel()
	always := []string{"x-api-key", "x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"}
	for _, test := range []struct {
		name    string
		config  IdentityConfig
		reason  authz.Reason
		who     authz.Principal
		request []string
		set     []string
		remove  []string // in addition to always
	}{
		{
			name: "session", reason: authz.ReasonSession, who: session,
			set:    []string{"x-warder-auth-method=session", "x-warder-client-ip=192.0.2.7", "x-warder-roles=CONTROL,USER", "x-warder-session=s-1", "x-warder-user=42"},
			remove: []string{"x-warder-key-prefix", "x-warder-scopes"},
		},
		{
			name: "API key", reason: authz.ReasonAPIKey, who: apiKey,
			set:    []string{"x-warder-auth-method=api_key", "x-warder-client-ip=192.0.2.7", "x-warder-key-prefix=wk_live", "x-warder-scopes=a:read,b:read", "x-warder-user=7"},
			remove: []string{"x-warder-roles", "x-warder-session"},
		},
		{
			name: "public, everything forged in many spellings", reason: authz.ReasonPublic,
			request: []string{
				"accept", "x-warder-user", "x-warder-user", "x_warder_roles", "x.warder.session", "x-warder_auth.method", "x_warder_client_ip",
				"x-warder-anything", "x-warder-", "x-warder", "xwarder-user", "x--warder-user", "my-x-warder-user", "authorization",
				"x_api_key", "x-api.key", "x_original_url", "x-forwarded-for",
				"x!warder~roles", "x'warder`user", "x%warder%", "x*api+key", "x--warder--user", "x-warder", "x!forwarded!for",
			},
			set: []string{"x-warder-client-ip=192.0.2.7"},
			remove: []string{
				"x-warder-user", "x_warder_roles", "x.warder.session", "x-warder_auth.method", "x_warder_client_ip", "x-warder-anything", "x-warder-",
				"x-warder-auth-method", "x-warder-roles", "x-warder-session", "x-warder-key-prefix", "x-warder-scopes",
				"x_api_key", "x-api.key", "x_original_url", "x!warder~roles", "x'warder`user", "x%warder%", "x*api+key",
			},
		},
		{
			name: "renamed: the old names stay closed, the new ones are guarded", reason: authz.ReasonSession, who: session,
			config:  IdentityConfig{Headers: map[string]string{"user": "X-User-Id", "key_prefix": "x_key"}},
			request: []string{"x-user-id", "x_user_id", "x.user-id", "x-warder-user", "x-key", "x.key"},
			set:     []string{"x-user-id=42", "x-warder-auth-method=session", "x-warder-client-ip=192.0.2.7", "x-warder-roles=CONTROL,USER", "x-warder-session=s-1"},
			remove:  []string{"x_user_id", "x.user-id", "x-warder-user", "x-warder-key-prefix", "x-warder-scopes", "x-key", "x_key", "x.key"},
		},
		{
			name: "names swapped among each other", reason: authz.ReasonAnonymous,
			config: IdentityConfig{Headers: map[string]string{"user": "x-warder-auth-method", "auth_method": "x-warder-user"}},
			set:    []string{"x-warder-client-ip=192.0.2.7", "x-warder-user=anonymous"},
			remove: []string{"x-warder-auth-method", "x-warder-roles", "x-warder-session", "x-warder-key-prefix", "x-warder-scopes"},
		},
		{
			name: "token kept from the upstream", reason: authz.ReasonPublic,
			config: IdentityConfig{RemoveAuthorization: true}, request: []string{"authorization"},
			set:    []string{"x-warder-client-ip=192.0.2.7"},
			remove: []string{"authorization", "x-warder-auth-method", "x-warder-user", "x-warder-roles", "x-warder-session", "x-warder-key-prefix", "x-warder-scopes"},
		},
	} {
		id, err := newIdentity(test.config)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var request authz.Headers
		for _, name := range test.request {
			request = append(request, authz.Header{Name: name, Value: "forged"})
		}
		set, remove := id.mutations(values(test.reason, test.who, testIP), attribute.Set{}, request)
		var got []string
		for _, h := range set {
			got = append(got, h.name+"="+h.value)
		}
		if diff := cmp.Diff(test.set, got); diff != "" {
			t.Errorf("%s: set (-want +got):\n%s", test.name, diff)
		}
		want := slices.Sorted(slices.Values(append(test.remove, always...)))
		if diff := cmp.Diff(want, remove); diff != "" {
			t.Errorf("%s: removed (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestMutationsOfOtherLists(t *testing.T) {
	t.Parallel()
	id, err := newIdentity(IdentityConfig{Sources: authz.Sources{APIKeyHeader: "X-Service-Key"}, KeepAPIKey: true, StripHeaders: []string{"X-Secret"}})
	if err != nil {
		t.Fatal(err)
	}
	request := authz.Headers{{Name: "x-service-key"}, {Name: "x_service_key"}, {Name: "x-api-key"}, {Name: "x-original-url"}, {Name: "x_secret"}}
	_, remove := id.mutations(values(authz.ReasonPublic, authz.Principal{}, netip.Addr{}), attribute.Set{}, request)
	for name, want := range map[string]bool{
		"x-service-key": false, "x_service_key": false, "x-api-key": false, "x-original-url": false, "x-secret": true, "x_secret": true,
	} {
		if slices.Contains(remove, name) != want {
			t.Errorf("%s removed: %v, want %v", name, !want, want)
		}
	}
	// Names with underscores are also recognised in other spellings.
	id, err = newIdentity(IdentityConfig{Sources: authz.Sources{APIKeyHeader: "X_Service_Key"}, StripHeaders: []string{"X.Secret"}})
	if err != nil {
		t.Fatal(err)
	}
	_, remove = id.mutations([fieldCount]string{}, attribute.Set{}, authz.Headers{{Name: "x-service-key"}, {Name: "x_secret"}})
	for _, name := range []string{"x-service-key", "x_service_key", "x_secret", "x.secret"} {
		if !slices.Contains(remove, name) {
			t.Errorf("%s gets through", name)
		}
	}
	// An empty list strips nothing. A nil list means the default.
	id, err = newIdentity(IdentityConfig{KeepAPIKey: true, StripHeaders: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, remove := id.mutations([fieldCount]string{}, attribute.Set{}, nil); len(remove) != int(fieldCount) {
		t.Errorf("removed %q, want the identity headers only", remove)
	}
}

// TestMutationsProperties tests that, for any request and any values, no name is in both lists,
// each identity header is in one, and no spelling of one gets through.
func TestMutationsProperties(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	seps := strings.Split("!#$%&'*+-.^_`|~", "")
	for _, config := range []IdentityConfig{
		{},
		{Headers: map[string]string{"user": "x-user-id", "roles": "x_roles"}, Sources: authz.Sources{APIKeyHeader: "x_key"}},
		{StripHeaders: []string{"x-warder-other", "x-a"}, RemoveAuthorization: true, KeepAPIKey: true},
		{Headers: map[string]string{"user": "x-user-id"}, Attributes: map[string]string{"tenant": "X-Tenant", "mail": "x_mail", "plan": "x-warder-plan", "a": "a", "zz": "zz"}},
	} {
		id, err := newIdentity(config)
		if err != nil {
			t.Fatal(err)
		}
		own := id.names[:]
		for _, name := range config.Attributes {
			own = append(slices.Clip(own), strings.ToLower(name))
		}
		known := slices.Concat(own, id.remove, []string{"x-warder-new", "accept", "x-user", "authorization"})
		for range 2000 {
			var v [fieldCount]string
			for f := range v {
				if random.IntN(2) == 0 {
					v[f] = "v"
				}
			}
			var request authz.Headers
			for range random.IntN(8) {
				name := known[random.IntN(len(known))]
				for _, sep := range []string{"-", "_", "."} {
					if random.IntN(3) == 0 {
						name = strings.ReplaceAll(name, sep, seps[random.IntN(len(seps))])
					}
				}
				request = append(request, authz.Header{Name: name})
			}
			attributes := map[string]string{"nobody": "x"}
			for name := range config.Attributes {
				attributes[name] = []string{"", "v", "two, words", "a\nb", " v"}[random.IntN(5)]
			}
			set, remove := id.mutations(v, attribute.Of(attributes), request)
			for name, header := range config.Attributes {
				want := attributes[name]
				if want == "a\nb" || want == " v" {
					want = ""
				}
				if got := valueOf(set, strings.ToLower(header)); got != want {
					t.Fatalf("%s is %q, want %q", header, got, want)
				}
			}
			names := map[string]int{}
			for _, h := range set {
				names[h.name]++
			}
			for _, name := range remove {
				names[name]++
			}
			for name, n := range names {
				if n != 1 {
					t.Fatalf("%s is listed %d times: set %v, remove %q", name, n, set, remove)
				}
			}
			for _, name := range slices.Concat(own, id.remove) {
				if names[name] != 1 {
					t.Fatalf("%s is neither set nor removed", name)
				}
			}
			for _, h := range request {
				if f := separators.ReplaceAllString(h.Name, "-"); names[h.Name] == 0 &&
					(strings.HasPrefix(f, "x-warder-") || slices.ContainsFunc(own, func(n string) bool { return authz.FoldHeader(n) == f })) {
					t.Fatalf("%s gets through", h.Name)
				}
			}
			if !slices.IsSorted(remove) || !slices.IsSortedFunc(set, func(a, b setHeader) int { return strings.Compare(a.name, b.name) }) {
				t.Fatalf("not sorted: %v %q", set, remove)
			}
			if why := id.misshapenYes(allowResponse(set, remove, false, metadata{})); why != "" {
				t.Fatalf("the guard refuses what the engine allowed: %s", why)
			}
		}
	}
}

// valueOf returns the value that a header is set to, or "".
func valueOf(set []setHeader, name string) string {
	for _, h := range set {
		if h.name == name {
			return h.value
		}
	}
	return ""
}

// TestMutationsOfAttributes: the headers of attributes are in each answer, set or removed, and only
// a principal with a credential has some.
func TestMutationsOfAttributes(t *testing.T) {
	t.Parallel()
	id, err := newIdentity(IdentityConfig{Attributes: map[string]string{"tenant": "X-Tenant", "plan": "x-warder-plan"}})
	if err != nil {
		t.Fatal(err)
	}
	who := authz.Principal{UserID: "42", Attributes: attribute.Of(map[string]string{"tenant": "acme", "plan": " gold", "other": "x"})}
	for _, tt := range []struct {
		tenant string
		reason authz.Reason
	}{
		{"acme", authz.ReasonSession},
		{"acme", authz.ReasonAPIKey},
		{"", authz.ReasonAnonymous},
		{"", authz.ReasonPublic},
		{"", authz.ReasonPreflight},
		{"", authz.ReasonRoleMissing},
	} {
		forged := authz.Headers{{Name: "x-tenant", Value: "evil"}, {Name: "x_tenant", Value: "evil"}, {Name: "x.warder.plan", Value: "x"}}
		before := len(id.removals[0])
		set, remove := id.mutations(values(tt.reason, who, testIP), attributesFor(tt.reason, who), forged)
		if got := valueOf(set, "x-tenant"); got != tt.tenant {
			t.Errorf("%v: x-tenant is %q, want %q", tt.reason, got, tt.tenant)
		}
		if valueOf(set, "x-warder-plan") != "" || valueOf(set, "x-other") != "" {
			t.Errorf("%v: set %v", tt.reason, set)
		}
		for name, want := range map[string]bool{"x-tenant": tt.tenant == "", "x_tenant": true, "x-warder-plan": true, "x.warder.plan": true} {
			if slices.Contains(remove, name) != want {
				t.Errorf("%v: %s removed: %v, want %v", tt.reason, name, !want, want)
			}
		}
		if len(id.removals[0]) != before {
			t.Errorf("%v: the list that answers share has changed", tt.reason)
		}
		response := allowResponse(set, remove, false, metadata{})
		if why := id.misshapenYes(response); why != "" {
			t.Errorf("%v: the guard refuses it: %s", tt.reason, why)
		}
		// Without one of the headers of attributes the guard refuses it.
		if tt.tenant != "" {
			response.set = slices.DeleteFunc(slices.Clone(set), func(h setHeader) bool { return h.name == "x-tenant" })
		} else {
			response.remove = slices.DeleteFunc(slices.Clone(remove), func(name string) bool { return name == "x-tenant" })
		}
		if id.misshapenYes(response) == "" {
			t.Errorf("%v: the guard accepts an answer without x-tenant", tt.reason)
		}
	}
}

// separators are the characters that a gateway to CGI maps to one character.
var separators = regexp.MustCompile("[^a-z0-9]")

// TestSeparators puts any byte anywhere between the words of a name that warder sets, consumes
// or strips. Over gRPC, the field must be removed, or the request refused because the name is
// not a valid field name.
func TestSeparators(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Identity: IdentityConfig{
		Headers: map[string]string{"user": "x-user-id", "roles": "x_user.roles"}, Sources: authz.Sources{APIKeyHeader: "x-service-key"}, StripHeaders: []string{"x-original-url"},
	}})
	for _, name := range []string{"x-warder-user", "x-warder-roles", "x-warder-session", "x-warder-new-one", "x-user-id", "x_user.roles", "x-service-key", "x-original-url"} {
		places := separators.FindAllStringIndex(name, -1)
		for which := 1; which < 1<<len(places); which++ {
			for c := range 256 {
				forged := []byte(name)
				for i, at := range places {
					if which>>i&1 == 1 {
						forged[at[0]] = byte(c)
					}
				}
				if separators.ReplaceAllString(lower(string(forged)), "-") != separators.ReplaceAllString(name, "-") {
					continue // a letter or a digit makes it a different name
				}
				in := checkRequest("GET", "/public/x")
				in.Attributes.Request.Http.HeaderMap.Headers = append(in.Attributes.Request.Http.HeaderMap.Headers, rawHeader(strings.ToValidUTF8(string(forged), "\uFFFD"), "forged"))
				response := check(t.Context(), t, s, in)
				_, removed := sent(response)
				gone := isAllow(response) && slices.Contains(removed, lower(string(forged)))
				switch token := authz.IsToken(string(forged)); {
				case token && !gone:
					t.Errorf("%q gets through: %v", forged, response)
				case !token && !isDeny(response):
					t.Errorf("%q is no name, and accepted", forged)
				}
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"auth_method": "x-warder-auth-method", "user": "x-warder-user", "roles": "x-warder-roles", "session": "x-warder-session",
		"key_prefix": "x-warder-key-prefix", "scopes": "x-warder-scopes", "client_ip": "x-warder-client-ip",
	}
	if diff := cmp.Diff(want, DefaultIdentityHeaders()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := newIdentity(IdentityConfig{Headers: DefaultIdentityHeaders(), Sources: authz.Sources{APIKeyHeader: authz.DefaultAPIKeyHeader}, StripHeaders: DefaultStripHeaders()}); err != nil {
		t.Errorf("the defaults, said aloud, are refused: %v", err)
	}
}
