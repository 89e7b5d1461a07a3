package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	streamlogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A shipped configuration, decoded as far as warder's responses depend on it.
type shipped struct {
	bootstrap *bootstrapv3.Bootstrap
	manager   *hcmv3.HttpConnectionManager
	mutation  *mutationv3.HeaderMutation
	extAuthz  *extauthzv3.ExtAuthz
	app       *clusterv3.Cluster
	appGRPC   *clusterv3.Cluster
	warder    *clusterv3.Cluster
	protocol  *upstreamv3.HttpProtocolOptions
	logs      *grpclogv3.HttpGrpcAccessLogConfig
	log       string // the JSON format of Envoy's own log
	logFrom   uint32 // the lowest status that is logged
}

// decode reads a configuration. It refuses unknown fields, and applies the validation rules
// that come with the messages.
func decode(t *testing.T, text []byte) shipped {
	t.Helper()
	asJSON, err := toJSON(text) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	s := shipped{bootstrap: new(bootstrapv3.Bootstrap)}
	if err := protojson.Unmarshal(asJSON, s.bootstrap); err != nil {
		t.Fatal(err)
	}
	if err := s.bootstrap.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	listeners := s.bootstrap.GetStaticResources().GetListeners()
	if len(listeners) != 1 || len(listeners[0].GetFilterChains()) != 1 || len(listeners[0].GetFilterChains()[0].GetFilters()) != 1 {
		t.Fatal("not one listener with one filter chain of one filter: there would be a way past warder")
	}
	s.manager = unpack(t, listeners[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), new(hcmv3.HttpConnectionManager))
	filters := s.manager.GetHttpFilters()
	var names []string
	for _, f := range filters {
		names = append(names, f.GetName())
	}
	if got := strings.Join(names, " "); got != "envoy.filters.http.header_mutation envoy.filters.http.ext_authz envoy.filters.http.grpc_web envoy.filters.http.router" {
		t.Fatalf("HTTP filters %s: removal, then ext_authz, then the form of gRPC-Web and the router", got)
	}
	s.mutation = unpack(t, filters[0].GetTypedConfig(), new(mutationv3.HeaderMutation))
	s.extAuthz = unpack(t, filters[1].GetTypedConfig(), new(extauthzv3.ExtAuthz))
	unpack(t, filters[2].GetTypedConfig(), new(grpcwebv3.GrpcWeb))
	unpack(t, filters[3].GetTypedConfig(), new(routerv3.Router))
	for _, c := range s.bootstrap.GetStaticResources().GetClusters() {
		switch c.GetName() {
		case "app":
			s.app = c
		case "app_grpc":
			s.appGRPC = c
		case "warder":
			s.warder = c
		default:
			t.Fatalf("a cluster %s", c.GetName())
		}
	}
	s.protocol = unpack(t, s.warder.GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"], new(upstreamv3.HttpProtocolOptions))
	if len(s.manager.GetAccessLog()) != 2 {
		t.Fatal("not two access logs")
	}
	s.logs = unpack(t, s.manager.GetAccessLog()[0].GetTypedConfig(), new(grpclogv3.HttpGrpcAccessLogConfig))
	format := func(f *corev3.SubstitutionFormatString) {
		text, err := protojson.Marshal(f.GetJsonFormat())
		if err != nil {
			t.Fatal(err)
		}
		s.log = string(text)
	}
	own := s.manager.GetAccessLog()[1]
	s.logFrom = own.GetFilter().GetStatusCodeFilter().GetComparison().GetValue().GetDefaultValue()
	switch own.GetName() {
	case "envoy.access_loggers.stdout":
		format(unpack(t, own.GetTypedConfig(), new(streamlogv3.StdoutAccessLog)).GetLogFormat())
	case "envoy.access_loggers.file":
		format(unpack(t, own.GetTypedConfig(), new(filelogv3.FileAccessLog)).GetLogFormat())
	}
	return s
}

func unpack[M interface {
	proto.Message
	ValidateAll() error
}](t *testing.T, a *anypb.Any, into M) M {
	t.Helper()
	if err := a.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	if err := into.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	return into
}

func readConfig(t *testing.T, name string) []byte {
	t.Helper()
	text, err := fs.ReadFile(Configs(), name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestConfigSettings checks every setting that warder's responses depend on, in each shipped
// configuration.
func TestConfigSettings(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sidecar.yaml", "service.yaml"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := decode(t, readConfig(t, name))
			m, a, c := s.manager, s.extAuthz, s.warder
			h2 := s.protocol.GetExplicitHttpConfig().GetHttp2ProtocolOptions()
			limits := c.GetCircuitBreakers().GetThresholds()
			for _, row := range []struct {
				setting   string
				got, want any
			}{
				{"failure_mode_allow", a.GetFailureModeAllow(), false},
				{"status_on_error", a.GetStatusOnError().GetCode().String(), "ServiceUnavailable"},
				{"grpc timeout", a.GetGrpcService().GetTimeout().AsDuration().String(), "500ms"},
				{"the cluster asked", a.GetGrpcService().GetEnvoyGrpc().GetClusterName(), "warder"},
				{"transport_api_version", a.GetTransportApiVersion().String(), "V3"},
				{"encode_raw_headers", a.GetEncodeRawHeaders(), true},
				{"validate_mutations", a.GetValidateMutations(), true},
				{"clear_route_cache", a.GetClearRouteCache(), false},
				{"with_request_body", a.GetWithRequestBody() == nil, true},
				{"allowed_headers: warder sees all", a.GetAllowedHeaders() == nil && a.GetDisallowedHeaders() == nil, true},
				{"shadow_mode", a.GetShadowMode(), false},
				{"filter_enabled", a.GetFilterEnabled() == nil && a.GetFilterEnabledMetadata() == nil, true},
				{"mutation of routing headers is an error", !a.GetDecoderHeaderMutationRules().GetAllowAllRouting().GetValue() && a.GetDecoderHeaderMutationRules().GetDisallowIsError().GetValue(), true},
				{"mutation of all other headers is none", a.GetDecoderHeaderMutationRules().GetDisallowAll().GetValue() || a.GetDecoderHeaderMutationRules().GetDisallowExpression() != nil, false},

				// Envoy buffers a call that it may retry, and fails the call above 64 KiB.
				{"no retries", a.GetGrpcService().GetRetryPolicy() == nil, true},
				{"removed before ext_authz", s.mutation.GetMutations().GetRequestMutations()[0].GetRemoveOnMatch().GetKeyMatcher().GetSafeRegex().GetRegex(), "^x[^a-z0-9]warder[^a-z0-9].*"},

				{"normalize_path", m.GetNormalizePath().GetValue(), true},
				{"merge_slashes", m.GetMergeSlashes(), true},
				{"path_with_escaped_slashes_action", m.GetPathWithEscapedSlashesAction().String(), "REJECT_REQUEST"},
				{"headers_with_underscores_action", m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction().String(), "DROP_HEADER"},
				{"max_headers_count", m.GetCommonHttpProtocolOptions().GetMaxHeadersCount().GetValue(), uint32(100)},
				{"max_request_headers_kb", m.GetMaxRequestHeadersKb().GetValue(), uint32(60)},
				{"request_headers_timeout", m.GetRequestHeadersTimeout().AsDuration().String(), "10s"},
				{"per_connection_buffer_limit_bytes", s.bootstrap.GetStaticResources().GetListeners()[0].GetPerConnectionBufferLimitBytes().GetValue(), uint32(32768)},
				{"HTTP/1.0", m.GetHttpProtocolOptions().GetAcceptHttp_10() && m.GetHttpProtocolOptions().GetDefaultHostForHttp_10() != "", true},
				{"HTTP/2 streams of a client", m.GetHttp2ProtocolOptions().GetMaxConcurrentStreams().GetValue(), uint32(100)},
				{"use_remote_address", m.GetUseRemoteAddress().GetValue(), true},
				{"xff_num_trusted_hops", m.GetXffNumTrustedHops(), uint32(0)},
				{"skip_xff_append", m.GetSkipXffAppend(), false},
				// With an empty list, Envoy would use loopback and the private networks.
				{"internal addresses", m.GetInternalAddressConfig().String(), (&hcmv3.HttpConnectionManager_InternalAddressConfig{
					CidrRanges: []*corev3.CidrRange{{AddressPrefix: "0.0.0.0", PrefixLen: wrapperspb.UInt32(32)}},
				}).String()},
				{"routes that turn ext_authz off", strings.Join(perFilter(m.GetRouteConfig()), ", "), ""},
				{"no routes from elsewhere", m.GetRds() == nil && m.GetScopedRoutes() == nil && m.GetRouteConfig().GetVhds() == nil, true},

				// An ordinary web application must work unchanged.
				{"upgrades", upgrades(m.GetUpgradeConfigs()), "websocket"},
				{"websockets over HTTP/2", m.GetHttp2ProtocolOptions().GetAllowConnect(), true},
				{"a request may take as long as it takes", isZero(m.GetRequestTimeout()), true},
				{"a stream that stands still ends", m.GetStreamIdleTimeout().AsDuration().String(), "5m0s"},
				{"an answer that nobody reads ends", m.GetStreamFlushTimeout().AsDuration().String(), "5m0s"},
				{"no limit for a whole stream", m.GetCommonHttpProtocolOptions().GetMaxStreamDuration() == nil && m.GetCommonHttpProtocolOptions().GetMaxConnectionDuration() == nil, true},
				{"an idle connection ends", m.GetCommonHttpProtocolOptions().GetIdleTimeout().AsDuration().String(), "1h0m0s"},
				{"routes", routesOf(m.GetRouteConfig()), "upgrade exact websocket: app, 0s, 1h0m0s; content-type prefix application/grpc: app_grpc, 0s, 1h0m0s; all: app, 0s"},
				{"the application's protocol", spokenTo(t, s.app), "HTTP/1.1"},
				{"the protocol of a gRPC application", spokenTo(t, s.appGRPC), "HTTP/2"},
				{"request trailers do not pass", s.mutation.GetMutations().GetRequestTrailersMutations()[0].GetRemoveOnMatch().GetKeyMatcher().GetSafeRegex().GetRegex(), ".*"},
				{"connections to the application", least(s.app), uint32(20000)},
				{"connections to a gRPC application", least(s.appGRPC), uint32(20000)},

				{"the access log goes to warder", s.logs.GetCommonConfig().GetGrpcService().GetEnvoyGrpc().GetClusterName(), "warder"},
				{"in batches", s.logs.GetCommonConfig().GetBufferFlushInterval().AsDuration().String(), "1s"},
				{"with headers that hold no secrets", strings.Join(s.logs.GetAdditionalRequestHeadersToLog(), " "), "origin content-type traceparent"},
				{"and none of the answer", len(s.logs.GetAdditionalResponseHeadersToLog()) + len(s.logs.GetAdditionalResponseTrailersToLog()), 0},
				{"Envoy's own log is of what failed", s.logFrom, uint32(500)},
				{"the log has no query", strings.Contains(s.log, "%PATH(NQ)%") && !strings.Contains(s.log, "%REQ(:PATH)%"), true},
				{"the log has no other header", strings.Count(s.log, "%REQ("), 2}, // :METHOD, X-REQUEST-ID
				{"the log says why", strings.Contains(s.log, "ext_authz:summary") && strings.Contains(s.log, "ext_authz:reason") && strings.Contains(s.log, "ext_authz:user"), true},

				{"admin is on loopback", s.bootstrap.GetAdmin().GetAddress().GetSocketAddress().GetAddress(), "127.0.0.1"},
				{"listener is on loopback", s.bootstrap.GetStaticResources().GetListeners()[0].GetAddress().GetSocketAddress().GetAddress(), "127.0.0.1"},
				{"downstream connections", unpack(t, s.bootstrap.GetOverloadManager().GetResourceMonitors()[0].GetTypedConfig(), new(connectionsv3.DownstreamConnectionsConfig)).GetMaxActiveDownstreamConnections(), int64(20000)},

				{"HTTP/2 to warder", h2 != nil, true},
				{"streams to warder, below its limit", h2.GetMaxConcurrentStreams().GetValue() <= maxStreams, true},
				{"circuit breakers of both priorities", len(limits), 2},
				{"requests in flight", limits[0].GetMaxRequests().GetValue(), uint32(4096)},
				{"requests waiting", limits[0].GetMaxPendingRequests().GetValue(), uint32(4096)},
				{"requests in flight, high", limits[1].GetMaxRequests().GetValue(), uint32(4096)},
				{"connect_timeout is below the call's", c.GetConnectTimeout().AsDuration() < a.GetGrpcService().GetTimeout().AsDuration(), true},
				{"warder's deadline is below the call's", DefaultDeadline < a.GetGrpcService().GetTimeout().AsDuration(), true},
			} {
				if row.got != row.want {
					t.Errorf("%s: %v, want %v", row.setting, row.got, row.want)
				}
			}
		})
	}
}

// defaultShutdownDelay is the default of shutdown.delay.
const defaultShutdownDelay = 5 * time.Second

// perFilter names everything that overrides a filter's configuration and so could turn
// ext_authz off: in the routes of all virtual hosts, and in each cluster of a weighted route.
func perFilter(c *routev3.RouteConfiguration) []string {
	var found []string
	look := func(where string, settings map[string]*anypb.Any) {
		for name := range settings {
			found = append(found, where+": "+name)
		}
	}
	look("all", c.GetTypedPerFilterConfig())
	for _, host := range c.GetVirtualHosts() {
		look(host.GetName(), host.GetTypedPerFilterConfig())
		for i, route := range host.GetRoutes() {
			where := fmt.Sprintf("%s: routes[%d]", host.GetName(), i)
			look(where, route.GetTypedPerFilterConfig())
			for _, weighed := range route.GetRoute().GetWeightedClusters().GetClusters() {
				look(where+": "+weighed.GetName(), weighed.GetTypedPerFilterConfig())
			}
		}
	}
	return found
}

// upgrades names the upgrades that pass the same filters as other requests.
func upgrades(all []*hcmv3.HttpConnectionManager_UpgradeConfig) string {
	var names []string
	for _, u := range all {
		name := u.GetUpgradeType()
		if len(u.GetFilters()) > 0 || u.GetEnabled() != nil && !u.GetEnabled().GetValue() {
			name += " (filters of its own, or off)"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// routesOf formats all routes as one line: the header that is matched, the cluster, the timeout
// and, if it is set, the idle timeout. A timeout that is not set is Envoy's default of 15s.
func routesOf(c *routev3.RouteConfiguration) string {
	var lines []string
	for _, host := range c.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			line := "all"
			for _, h := range route.GetMatch().GetHeaders() {
				line = h.GetName() + " exact " + h.GetStringMatch().GetExact()
				if prefix := h.GetStringMatch().GetPrefix(); prefix != "" {
					line = h.GetName() + " prefix " + prefix
				}
				if !h.GetStringMatch().GetIgnoreCase() {
					line += " (case matters)"
				}
			}
			to := route.GetRoute()
			line += ": " + to.GetCluster()
			if to.GetTimeout() != nil {
				line += ", " + to.GetTimeout().AsDuration().String()
			}
			if to.GetIdleTimeout() != nil {
				line += ", " + to.GetIdleTimeout().AsDuration().String()
			}
			if route.GetMatch().GetPrefix() != "/" || to.GetRetryPolicy() != nil || to.GetMaxStreamDuration() != nil {
				line += " (not for all paths, with retries, or bounded)"
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// isZero reports whether a duration is set to 0. If it is not set, Envoy uses its default.
func isZero(d *durationpb.Duration) bool { return d != nil && d.AsDuration() == 0 }

// spokenTo returns the name of the protocol that Envoy uses for a cluster.
func spokenTo(t *testing.T, c *clusterv3.Cluster) string {
	t.Helper()
	options := unpack(t, c.GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"], new(upstreamv3.HttpProtocolOptions))
	switch explicit := options.GetExplicitHttpConfig(); {
	case explicit.GetHttp2ProtocolOptions() != nil:
		return "HTTP/2"
	case explicit.GetHttpProtocolOptions() != nil:
		return "HTTP/1.1"
	}
	return "another"
}

// least returns the smallest limit of a cluster's circuit breakers.
func least(c *clusterv3.Cluster) uint32 {
	limits := c.GetCircuitBreakers().GetThresholds()
	if len(limits) != 1 {
		return 0
	}
	return min(limits[0].GetMaxConnections().GetValue(), limits[0].GetMaxPendingRequests().GetValue(), limits[0].GetMaxRequests().GetValue())
}

// longest returns the longest interval between two health checks in any state. It returns 0 if
// an interval is not set, because Envoy's default for a cluster without traffic is a minute.
func longest(h *corev3.HealthCheck) time.Duration {
	if h.GetNoTrafficInterval() == nil || h.GetNoTrafficHealthyInterval() == nil {
		return 0
	}
	return max(h.GetInterval().AsDuration(), h.GetUnhealthyInterval().AsDuration(), h.GetNoTrafficInterval().AsDuration(), h.GetNoTrafficHealthyInterval().AsDuration())
}

// noticed returns the longest time until Envoy sends nothing more to a replica that reports
// that it is shutting down.
func noticed(h *corev3.HealthCheck) time.Duration {
	each := h.GetInterval().AsDuration() + h.GetIntervalJitter().AsDuration()
	return time.Duration(h.GetUnhealthyThreshold().GetValue())*each + h.GetTimeout().AsDuration()
}

func TestSidecarCluster(t *testing.T) {
	t.Parallel()
	s := decode(t, readConfig(t, "sidecar.yaml"))
	if len(s.warder.GetHealthChecks()) > 0 || s.warder.GetOutlierDetection() != nil || s.warder.GetTransportSocket() != nil {
		t.Error("one endpoint on this machine is not checked and not encrypted")
	}
}

func TestServiceCluster(t *testing.T) {
	t.Parallel()
	sidecar, s := decode(t, readConfig(t, "sidecar.yaml")), decode(t, readConfig(t, "service.yaml"))
	if !proto.Equal(sidecar.bootstrap.GetStaticResources().GetListeners()[0], s.bootstrap.GetStaticResources().GetListeners()[0]) || !proto.Equal(sidecar.app, s.app) || !proto.Equal(sidecar.appGRPC, s.appGRPC) {
		t.Error("service.yaml differs from sidecar.yaml in more than the cluster of warder")
	}
	context := unpack(t, s.warder.GetTransportSocket().GetTypedConfig(), new(tlsv3.UpstreamTlsContext))
	common := context.GetCommonTlsContext()
	keepalive := s.protocol.GetExplicitHttpConfig().GetHttp2ProtocolOptions().GetConnectionKeepalive()
	for _, row := range []struct {
		setting   string
		got, want any
	}{
		{"TLS version", common.GetTlsParams().GetTlsMinimumProtocolVersion().String(), "TLSv1_3"},
		{"own certificate", len(common.GetTlsCertificates()), 1},
		{"CA of warder", common.GetValidationContext().GetTrustedCa().GetFilename(), "/etc/envoy/tls/ca.crt"},
		{"name of warder", common.GetValidationContext().GetMatchTypedSubjectAltNames()[0].GetMatcher().GetExact(), context.GetSni()},
		{"ALPN", common.GetAlpnProtocols()[0], "h2"},
		{"health of the service that answers", s.warder.GetHealthChecks()[0].GetGrpcHealthCheck().GetServiceName(), AuthorizationService},
		{"time between health checks", longest(s.warder.GetHealthChecks()[0]).String(), "1s"},
		{"time for one", s.warder.GetHealthChecks()[0].GetTimeout().AsDuration().String(), "500ms"},
		{"one that shuts down is noticed within its shutdown.delay", noticed(s.warder.GetHealthChecks()[0]) < defaultShutdownDelay, true},
		{"unhealthy_threshold", s.warder.GetHealthChecks()[0].GetUnhealthyThreshold().GetValue(), uint32(2)},
		{"healthy_threshold", s.warder.GetHealthChecks()[0].GetHealthyThreshold().GetValue(), uint32(1)},
		{"health checks", len(s.warder.GetHealthChecks()), 1},
		{"a replica that does not answer is put aside", s.warder.GetOutlierDetection().GetConsecutiveLocalOriginFailure().GetValue(), uint32(3)},
		{"no panic to replicas that are down", s.warder.GetCommonLbConfig().GetHealthyPanicThreshold().GetValue(), 0.0},
		{"type", s.warder.GetType().String(), "STRICT_DNS"},
		{"keepalive, slower than warder's limit", keepalive.GetInterval().AsDuration().Seconds() >= 10, true},
	} {
		if row.got != row.want {
			t.Errorf("%s: %v, want %v", row.setting, row.got, row.want)
		}
	}
}

func TestSidecarConfig(t *testing.T) {
	t.Parallel()
	plain, err := SidecarConfig(ConfigOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(decode(t, plain).bootstrap, decode(t, readConfig(t, "sidecar.yaml")).bootstrap) {
		t.Error("no options change something")
	}
	text, err := SidecarConfig(ConfigOptions{
		Listen: "0.0.0.0:80", Admin: "127.0.0.2:0", Upstream: "[::1]:8081", Warder: "unix:///run/warder.sock",
		TrustedHops: 2, AccessLog: "/tmp/access.log", FailureModeAllow: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := decode(t, text)
	at := func(c *clusterv3.Cluster) *corev3.Address {
		return c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress()
	}
	socket := func(a *corev3.Address) string {
		return fmt.Sprint(a.GetSocketAddress().GetAddress(), " ", a.GetSocketAddress().GetPortValue())
	}
	for _, row := range []struct{ got, want any }{
		{socket(s.bootstrap.GetStaticResources().GetListeners()[0].GetAddress()), "0.0.0.0 80"},
		{socket(s.bootstrap.GetAdmin().GetAddress()), "127.0.0.2 0"},
		{socket(at(s.app)), "::1 8081"},
		{at(s.warder).GetPipe().GetPath(), "/run/warder.sock"},
		{s.manager.GetXffNumTrustedHops(), uint32(2)},
		{s.extAuthz.GetFailureModeAllow(), true},
		{strings.Contains(s.log, "%PATH(NQ)%"), true},
		{strings.Contains(string(text), "/tmp/access.log"), true},
	} {
		if row.got != row.want {
			t.Errorf("%v, want %v", row.got, row.want)
		}
	}
	for _, bad := range []ConfigOptions{
		{Listen: "8000"}, {Listen: ":8000"}, {Listen: "localhost:8000"}, {Admin: "127.0.0.1:70000"}, {Upstream: "unix:///a"}, {Warder: "unix://a"}, {Warder: "127.0.0.1"},
	} {
		if text, err := SidecarConfig(bad); err == nil || text != nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// TestTreeSet tests that setting a path that does not exist is a problem and adds nothing.
func TestTreeSet(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"b/c", "a/0/c", "a/x", "a/-1/c", "a/0", "s/c"} {
		root := map[string]any{"a": []any{}, "s": "text"}
		tr := &tree{root: root}
		tr.set(path, 1)
		if text, _ := json.Marshal(root); len(tr.problems) != 1 || string(text) != `{"a":[],"s":"text"}` {
			t.Errorf("%s: %v %s", path, tr.problems, text)
		}
	}
}

// TestEnvoyValidates tests that Envoy accepts each configuration without a warning.
func TestEnvoyValidates(t *testing.T) {
	t.Parallel()
	binary := findEnvoy(t)
	dir := t.TempDir()
	writeCertificates(t, dir)
	variant, err := SidecarConfig(ConfigOptions{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Warder: "unix:///run/warder.sock", AccessLog: filepath.Join(dir, "access.log"), FailureModeAllow: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"sidecar.yaml": readConfig(t, "sidecar.yaml"),
		"service.yaml": bytes.ReplaceAll(readConfig(t, "service.yaml"), []byte("/etc/envoy/tls/"), []byte(dir+"/")),
		"variant.json": variant,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(binary, "--mode", "validate", "-c", file, "-l", "warning", "--use-dynamic-base-id").CombinedOutput()
		if lines := strings.TrimSpace(string(out)); err != nil || !strings.HasSuffix(lines, "OK") || strings.Contains(lines, "\n") {
			t.Errorf("%s: %v\n%s", name, err, lines)
		}
	}
}

func TestFindBinary(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	venv := filepath.Join(root, ".tools", "venv", "lib", "python3.99", "site-packages", "envoy", "_bin")
	bin := t.TempDir()
	for _, dir := range []string{below, venv} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	program := func(dir string) string {
		path := filepath.Join(dir, "envoy")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(below)
	t.Setenv("PATH", bin)
	find := func(explicit, want string) {
		t.Helper()
		got, err := FindBinary(explicit)
		if (err != nil) != (want == "") {
			t.Errorf("FindBinary(%q) = %q, %v", explicit, got, err)
		}
		if got, want := resolved(got), resolved(want); got != want {
			t.Errorf("FindBinary(%q) = %q, want %q", explicit, got, want)
		}
	}
	find("", "")
	find(filepath.Join(root, "missing"), "")
	installed := program(venv)
	find("", installed)
	onPath := program(bin)
	find("", onPath)
	find(installed, installed)
	t.Setenv("PATH", "")
	if err := os.WriteFile(filepath.Join(root, "a", "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	find("", "") // the module ends below it
}

func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// toJSON converts YAML to JSON.
func toJSON(text []byte) ([]byte, error) {
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}
