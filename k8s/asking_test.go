package k8s

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// warderDeadline is how long warder takes at most to answer; who asks must wait longer.
const warderDeadline = 200 * time.Millisecond

// identityHeaders are what must not come from a client, and what warder may set.
var identityHeaders = []string{
	"x-warder-auth-method", "x-warder-user", "x-warder-roles", "x-warder-session",
	"x-warder-key-prefix", "x-warder-scopes", "x-warder-client-ip",
}

// disguises are spellings of them that an application may fold to the same name.
var disguises = func() []string {
	names := []string{"x-warder-admin", "x-warder.roles"}
	for _, separator := range "!#$%&'*+-.^_`|~" { // all that a name of a header may hold (RFC 9110 section 5.6.2)
		names = append(names, "x"+string(separator)+"warder"+string(separator)+"user", "x-warder"+string(separator)+"client-ip")
	}
	return names
}()

// checkAsking: the objects that make a mesh or a gateway ask warder ask for
// everything, wait long enough, and take silence for a no.
func checkAsking(r *report, f *form) {
	for _, o := range f.objects {
		switch o.kind() {
		case "MeshConfig":
			checkMeshConfig(r, o)
		case "AuthorizationPolicy":
			if o.text("spec", "action") == "CUSTOM" {
				checkCustomPolicy(r, f, o)
			} else {
				checkCallers(r, o)
			}
		case "Telemetry":
			checkTelemetry(r, f, o)
		case "EnvoyProxy":
			checkGatewayLog(r, f, o)
		case "SecurityPolicy":
			checkSecurityPolicy(r, f, o)
		case "ClientTrafficPolicy":
			checkClientTraffic(r, o)
		case "HTTPRoute":
			checkHTTPRoute(r, o)
		case "Gateway":
			checkGateway(r, f, o)
		case "BackendTLSPolicy":
			checkBackendTLS(r, f, o)
		}
	}
}

type provider struct {
	Name              string
	EnvoyExtAuthzGrpc *struct {
		Service       string
		Port          float64
		Timeout       string
		FailOpen      *bool
		StatusOnError string
	}
	EnvoyHTTPALS *struct {
		Service string
		Port    float64
	}
}

func checkMeshConfig(r *report, o object) {
	for _, p := range into[[]provider](dig(o.doc, "spec", "extensionProviders")) {
		if g := p.EnvoyExtAuthzGrpc; g != nil {
			r.require(g.FailOpen != nil && !*g.FailOpen && g.StatusOnError == "503", "%s: %s must have failOpen: false and statusOnError 503", o.file, p.Name)
			checkTimeout(r, o, g.Timeout)
		}
	}
	r.require(o.text("spec", "pathNormalization", "normalization") == "DECODE_AND_MERGE_SLASHES", "%s: paths are not normalised", o.file)
}

// providerOf returns the provider of that name in the mesh configuration.
func providerOf(r *report, f *form, o object, name string) (provider, bool) {
	mesh, _ := f.find("MeshConfig ")
	all := into[[]provider](dig(mesh.doc, "spec", "extensionProviders"))
	i := slices.IndexFunc(all, func(p provider) bool { return p.Name == name })
	r.require(i >= 0, "%s: no provider %q in the mesh configuration", o, name)
	if i < 0 {
		return provider{}, false
	}
	return all[i], true
}

// checkMeshHost: the host of a provider is a Service, or a ServiceEntry of the namespace for the
// socket that a warder listens on.
func checkMeshHost(r *report, f *form, o object, host string, port float64) {
	for _, e := range f.objects {
		if e.kind() != "ServiceEntry" || e.namespace() != o.namespace() || !slices.Contains(into[[]string](dig(e.doc, "spec", "hosts")), host) {
			continue
		}
		type portNumber struct{ Number float64 }
		r.require(slices.Contains(into[[]portNumber](dig(e.doc, "spec", "ports")), portNumber{port}), "%s: no port %v", e, port)
		r.require(e.text("spec", "resolution") == "STATIC", "%s: resolution %q", e, e.text("spec", "resolution"))
		for _, endpoint := range into[[]struct{ Address string }](dig(e.doc, "spec", "endpoints")) {
			r.require(slices.Contains(listeners(f), endpoint.Address), "%s: no warder listens on %s", e, endpoint.Address)
		}
		return
	}
	name, rest, _ := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	checkServicePort(r, f, o, namespace, name, port)
}

// checkTelemetry: the access log goes to a warder, which takes it from whoever may ask for checks.
func checkTelemetry(r *report, f *form, o object) {
	type logging struct{ Providers []struct{ Name string } }
	for _, l := range into[[]logging](dig(o.doc, "spec", "accessLogging")) {
		for _, named := range l.Providers {
			p, known := providerOf(r, f, o, named.Name)
			if known && p.EnvoyHTTPALS == nil {
				r.addf("%s: provider %q is no envoyHttpAls", o, named.Name)
			} else if known {
				checkMeshHost(r, f, o, p.EnvoyHTTPALS.Service, p.EnvoyHTTPALS.Port)
			}
		}
	}
}

// warderCalls are what a proxy calls of warder.
var warderCalls = []string{"/envoy.service.auth.v3.Authorization/Check", "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"}

// checkCallers: in the mesh only named identities reach warder's port, for nothing but its calls.
func checkCallers(r *report, o object) {
	type rule struct {
		From []struct{ Source struct{ Principals []string } }
		To   []struct {
			Operation struct{ Ports, Paths []string }
		}
	}
	for i, each := range into[[]rule](dig(o.doc, "spec", "rules")) {
		for _, to := range each.To {
			r.require(len(to.Operation.Ports) > 0, "%s: rules[%d] is for every port", o, i)
			if !slices.Contains(to.Operation.Ports, "9191") {
				continue
			}
			r.require(slices.Equal(to.Operation.Paths, warderCalls), "%s: rules[%d] must be for %v, not %v", o, i, warderCalls, to.Operation.Paths)
			named := len(each.From) > 0
			for _, from := range each.From {
				named = named && len(from.Source.Principals) > 0 && !slices.Contains(from.Source.Principals, "*")
			}
			r.require(named, "%s: rules[%d] lets every workload try tokens; name principals", o, i)
		}
	}
}

func checkCustomPolicy(r *report, f *form, o object) {
	rules, _ := dig(o.doc, "spec", "rules").([]any)
	whole := slices.ContainsFunc(rules, func(rule any) bool { m, ok := rule.(map[string]any); return ok && len(m) == 0 })
	r.require(whole, "%s: must ask for every path; past an exception identity headers are the client's", o)
	p, known := providerOf(r, f, o, o.text("spec", "provider", "name"))
	if known && p.EnvoyExtAuthzGrpc == nil {
		r.addf("%s: provider %q is no envoyExtAuthzGrpc", o, p.Name)
	} else if known {
		checkMeshHost(r, f, o, p.EnvoyExtAuthzGrpc.Service, p.EnvoyExtAuthzGrpc.Port)
	}
}

// A ref names an object of Kubernetes, of a gateway or of Envoy Gateway.
type ref struct {
	Kind, Namespace, Name, SectionName string
	Port                               float64
}

func checkSecurityPolicy(r *report, f *form, o object) {
	type extAuth struct {
		FailOpen, RecomputeRoute *bool
		StatusOnError            int
		Timeout                  string
		HeadersToExtAuth         []string
		GRPC                     struct {
			BackendRefs     []ref
			BackendSettings struct{ Retry any }
		}
	}
	a := into[extAuth](dig(o.doc, "spec", "extAuth"))
	r.require(a.FailOpen != nil && !*a.FailOpen && a.StatusOnError == 503, "%s: must have failOpen: false and statusOnError: 503", o)
	r.require(a.RecomputeRoute != nil && !*a.RecomputeRoute, "%s: must not choose another route after the answer", o)
	r.require(len(a.HeadersToExtAuth) == 0, "%s: warder must see all header names, to remove what is disguised", o)
	r.require(a.GRPC.BackendSettings.Retry == nil, "%s: must not retry: Envoy keeps a call for that, and fails it above 64 KiB", o)
	checkTimeout(r, o, a.Timeout)
	r.require(len(a.GRPC.BackendRefs) == 1, "%s: asks %d backends", o, len(a.GRPC.BackendRefs))
	checkBackends(r, f, o, a.GRPC.BackendRefs)
	for _, target := range into[[]ref](dig(o.doc, "spec", "targetRefs")) {
		r.require(f.exists(key(target.Kind, o.namespace(), target.Name)), "%s: its target %s %s does not exist", o, target.Kind, target.Name)
	}
}

// checkBackends: what the object names is a warder, and it may name it.
func checkBackends(r *report, f *form, o object, backends []ref) {
	for _, b := range backends {
		if b.Kind == "Backend" {
			checkUnixBackend(r, f, o, b)
			continue
		}
		checkServicePort(r, f, o, b.Namespace, b.Name, b.Port)
		r.require(b.Namespace == o.namespace() || granted(f, o, b), "%s: no ReferenceGrant in %s lets it name Service %s", o, b.Namespace, b.Name)
	}
}

// checkGatewayLog: the access log goes to warder only; Envoy Gateway's own writes queries.
func checkGatewayLog(r *report, f *form, o object) {
	type sink struct {
		Type string
		ALS  struct {
			Type        string
			BackendRefs []ref
		}
	}
	settings := into[[]struct{ Sinks []sink }](dig(o.doc, "spec", "telemetry", "accessLog", "settings"))
	r.require(len(settings) > 0, "%s: no accessLog.settings, so that Envoy Gateway writes queries, and tokens in them, to standard output", o)
	for _, s := range settings {
		for _, each := range s.Sinks {
			r.require(each.Type == "ALS" && each.ALS.Type == "HTTP" && len(each.ALS.BackendRefs) == 1, "%s: the access log must go to warder, as type ALS and HTTP", o)
			checkBackends(r, f, o, each.ALS.BackendRefs)
		}
	}
}

// granted reports whether a ReferenceGrant lets o name the Service b.
func granted(f *form, o object, b ref) bool {
	for _, g := range f.objects {
		from := into[[]ref](dig(g.doc, "spec", "from"))
		to := into[[]ref](dig(g.doc, "spec", "to"))
		if g.kind() == "ReferenceGrant" && g.namespace() == b.Namespace &&
			slices.ContainsFunc(from, func(x ref) bool { return x.Kind == o.kind() && x.Namespace == o.namespace() }) &&
			slices.ContainsFunc(to, func(x ref) bool { return x.Kind == "Service" && x.Name == b.Name }) {
			return true
		}
	}
	return false
}

// checkUnixBackend: the socket of the Backend is one that a warder listens on.
func checkUnixBackend(r *report, f *form, o object, b ref) {
	backend, ok := f.find(key("Backend", o.namespace(), b.Name))
	r.require(ok, "%s: no Backend %s", o, b.Name)
	type endpoint struct{ Unix struct{ Path string } }
	for _, e := range into[[]endpoint](dig(backend.doc, "spec", "endpoints")) {
		r.require(slices.Contains(listeners(f), "unix://"+e.Unix.Path), "%s: no warder listens on %s", backend, e.Unix.Path)
	}
}

func checkClientTraffic(r *report, o object) {
	r.require(o.text("spec", "path", "escapedSlashesAction") == "RejectRequest" && dig(o.doc, "spec", "path", "disableMergeSlashes") == false,
		"%s: paths keep more than one reading", o)
	r.require(o.text("spec", "headers", "withUnderscoresAction") == "DropHeader", "%s: headers with underscores pass", o)
	r.require(dig(o.doc, "spec", "http1", "http10", "useDefaultHost") == true, "%s: health checks by HTTP/1.0 are refused", o)
	type match struct{ Type, Value string }
	matches := into[[]match](dig(o.doc, "spec", "headers", "earlyRequestHeaders", "removeOnMatch"))
	for _, name := range removable() {
		removed := slices.ContainsFunc(matches, func(m match) bool { return m.Type == "RegularExpression" && matchesWhole(m.Value, name) })
		r.require(removed, "%s: a client may send %s", o, name)
	}
}

// checkHTTPRoute: streams have no end, and Envoy's default for a route is 15 seconds.
func checkHTTPRoute(r *report, o object) {
	type rule struct{ Timeouts map[string]string }
	for i, each := range into[[]rule](dig(o.doc, "spec", "rules")) {
		r.require(each.Timeouts["request"] == "0s" && len(each.Timeouts) == 1, "%s: rules[%d] cuts off streams; it needs timeouts: {request: 0s}", o, i)
	}
}

func checkGateway(r *report, f *form, o object) {
	class := key("GatewayClass", "", o.text("spec", "gatewayClassName"))
	r.require(f.exists(class), "%s: no %s", o, class)
	if proxy := into[ref](dig(o.doc, "spec", "infrastructure", "parametersRef")); proxy.Name != "" {
		r.require(f.exists(key(proxy.Kind, o.namespace(), proxy.Name)), "%s: no %s %s", o, proxy.Kind, proxy.Name)
	}
	certificates := []ref{into[ref](dig(o.doc, "spec", "tls", "backend", "clientCertificateRef"))}
	type listener struct {
		TLS struct{ CertificateRefs []ref }
	}
	for _, l := range into[[]listener](dig(o.doc, "spec", "listeners")) {
		certificates = append(certificates, l.TLS.CertificateRefs...)
	}
	for _, c := range certificates {
		r.require(c.Name == "" || f.exists(key("Secret", o.namespace(), c.Name)), "%s: no Secret %s", o, c.Name)
	}
}

func checkBackendTLS(r *report, f *form, o object) {
	for _, target := range into[[]ref](dig(o.doc, "spec", "targetRefs")) {
		service, ok := f.find(key("Service", o.namespace(), target.Name))
		type port struct{ Name string }
		ports := into[[]port](dig(service.doc, "spec", "ports"))
		r.require(ok && slices.Contains(ports, port{target.SectionName}), "%s: no port %s of Service %s", o, target.SectionName, target.Name)
		host := target.Name + "." + o.namespace() + ".svc.cluster.local"
		r.require(o.text("spec", "validation", "hostname") == host, "%s: the certificate must be for %s", o, host)
	}
	for _, ca := range into[[]ref](dig(o.doc, "spec", "validation", "caCertificateRefs")) {
		_, ok := f.content(key(ca.Kind, o.namespace(), ca.Name), "ca.crt")
		r.require(ok, "%s: no %s %s with ca.crt", o, ca.Kind, ca.Name)
	}
}

// checkServicePort: the Service exists and has the port.
func checkServicePort(r *report, f *form, o object, namespace, name string, number float64) {
	service, ok := f.find(key("Service", namespace, name))
	type port struct{ Port float64 }
	ports := into[[]port](dig(service.doc, "spec", "ports"))
	r.require(ok && slices.Contains(ports, port{number}), "%s: no Service %s/%s with port %v", o, namespace, name, number)
}

// checkTimeout: above warder's deadline, and near it.
func checkTimeout(r *report, o object, text string) {
	timeout, err := time.ParseDuration(text)
	r.require(err == nil && timeout > warderDeadline && timeout <= time.Second, "%s: a timeout of %q; use more than %v and at most 1s", o, text, warderDeadline)
}

// removable are all names that must not come from a client, but for those with
// underscores, which are dropped before.
func removable() []string {
	return slices.DeleteFunc(slices.Concat(identityHeaders, disguises), func(name string) bool { return strings.Contains(name, "_") })
}

// matchesWhole matches like Envoy: the expression must cover the whole name.
func matchesWhole(expression, name string) bool {
	re, err := regexp.Compile("^(?:" + expression + ")$")
	return err == nil && re.MatchString(name)
}
