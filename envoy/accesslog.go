package envoy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"warder/authz/mask"
)

// metadataNamespace is where Envoy keeps what [metadataOf] says of a request.
const metadataNamespace = "envoy.filters.http.ext_authz"

// An AccessLog implements envoy.service.accesslog.v3.AccessLogService: Envoy sends
// an entry for each request that ended, and AccessLog writes it as one masked
// record. Envoy sends them in batches and beside the requests, and drops what it cannot
// get rid of, so nothing here delays a request. It is safe for concurrent use.
type AccessLog struct {
	accesslogv3.UnimplementedAccessLogServiceServer

	lines    slog.Handler
	mask     *mask.Masker
	log      *slog.Logger
	stopping chan struct{}
	stop     sync.Once
}

// NewAccessLog makes an access log that writes one record for each request to
// lines, which must not wait. The record's time is when the request began; every text in it
// goes through the masker. Faults of warder itself go to log.
func NewAccessLog(lines slog.Handler, m *mask.Masker, log *slog.Logger) *AccessLog {
	return &AccessLog{lines: mask.NewHandler(lines, m), mask: m, log: log, stopping: make(chan struct{})}
}

// StreamAccessLogs takes the entries of one worker of an Envoy until it or warder
// ends. Entries of TCP connections, which warder decides nothing about, are left out.
func (l *AccessLog) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	ended := make(chan error, 1)
	go func() { ended <- l.receive(stream) }()
	select {
	case err := <-ended:
		return err
	case <-l.stopping:
		// Envoy never ends a stream by itself. Receive ends with this call.
		return nil
	}
}

func (l *AccessLog) receive(stream accesslogv3.AccessLogService_StreamAccessLogsServer) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(stream.Context(), l.log, "access log", fault)
			err = errAccessLog
		}
	}()
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, entry := range batch.GetHttpLogs().GetLogEntry() {
			l.write(stream.Context(), entry)
		}
	}
}

var errAccessLog = errors.New("the access log failed")

// end lets the streams end, so that the server can.
func (l *AccessLog) end() {
	if l != nil {
		l.stop.Do(func() { close(l.stopping) })
	}
}

// write makes a record of an entry. What is empty is left out, but for the method,
// the path and the status.
func (l *AccessLog) write(ctx context.Context, e *logdatav3.HTTPAccessLogEntry) {
	common, request, response := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	started := common.GetStartTime().AsTime()
	if common.GetStartTime() == nil {
		started = time.Time{} // a record without a time
	}
	record := slog.NewRecord(started, slog.LevelInfo, "", 0)
	text := func(key, value string) {
		if value != "" {
			record.AddAttrs(slog.String(key, value))
		}
	}
	number := func(key string, value uint64) {
		if value != 0 {
			record.AddAttrs(slog.Uint64(key, value))
		}
	}
	record.AddAttrs(
		slog.String("log", "access"),
		slog.String("method", methodOf(request.GetRequestMethod())),
		slog.String("path", l.mask.Query(request.GetPath())),
		slog.Uint64("status", uint64(response.GetResponseCode().GetValue())), // 0: the client left before there was one
	)
	text("flags", flagsOf(common.GetResponseFlags()))
	text("details", response.GetResponseCodeDetails())
	record.AddAttrs(slog.Float64("duration_ms", milliseconds(durationOf(common))))
	text("scheme", request.GetScheme())
	text("host", request.GetAuthority())
	text("protocol", protocolOf(e.GetProtocolVersion()))
	number("bytes_received", request.GetRequestBodyBytes())
	number("bytes_sent", response.GetResponseBodyBytes())
	text("request_id", request.GetRequestId())
	text("peer", addressText(common.GetDownstreamDirectRemoteAddress()))
	text("forwarded_for", request.GetForwardedFor())
	text("user_agent", request.GetUserAgent())
	text("referer", l.mask.Query(request.GetReferer()))
	if original := request.GetOriginalPath(); original != request.GetPath() {
		text("original_path", l.mask.Query(original))
	}
	decided := common.GetMetadata().GetFilterMetadata()[metadataNamespace].GetFields()
	for _, key := range metadataKeys {
		text(key, decided[key].GetStringValue())
	}
	text("upstream_cluster", common.GetUpstreamCluster())
	text("upstream", addressText(common.GetUpstreamRemoteAddress()))
	text("upstream_failure", common.GetUpstreamTransportFailureReason())
	l.fields(&record, "tags", common.GetCustomTags())
	l.fields(&record, "request_headers", request.GetRequestHeaders())
	l.fields(&record, "response_headers", response.GetResponseHeaders())
	if err := l.lines.Handle(ctx, record); err != nil {
		l.log.ErrorContext(ctx, "access log: a line cannot be written")
	}
}

// fields adds the header fields, or the tags, that the Envoy configuration lists.
func (l *AccessLog) fields(record *slog.Record, group string, fields map[string]string) {
	if len(fields) == 0 {
		return
	}
	attrs := make([]any, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		attrs = append(attrs, slog.String(name, l.mask.Header(name, fields[name])))
	}
	record.AddAttrs(slog.Group(group, attrs...))
}

// methodOf returns the method, OTHER for one that the protocol has no word for.
func methodOf(m corev3.RequestMethod) string {
	if m == corev3.RequestMethod_METHOD_UNSPECIFIED {
		return "OTHER"
	}
	return m.String()
}

// durationOf returns how long a request took, from its first byte in to its last byte out.
func durationOf(c *logdatav3.AccessLogCommon) time.Duration {
	for _, d := range []*durationpb.Duration{c.GetDuration(), c.GetTimeToLastDownstreamTxByte(), c.GetTimeToLastRxByte()} {
		if d != nil {
			return d.AsDuration()
		}
	}
	return 0
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func protocolOf(v logdatav3.HTTPAccessLogEntry_HTTPVersion) string {
	switch v {
	case logdatav3.HTTPAccessLogEntry_HTTP10:
		return "HTTP/1.0"
	case logdatav3.HTTPAccessLogEntry_HTTP11:
		return "HTTP/1.1"
	case logdatav3.HTTPAccessLogEntry_HTTP2:
		return "HTTP/2"
	case logdatav3.HTTPAccessLogEntry_HTTP3:
		return "HTTP/3"
	case logdatav3.HTTPAccessLogEntry_PROTOCOL_UNSPECIFIED:
	}
	return ""
}

func addressText(a *corev3.Address) string {
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
	}
	return a.GetPipe().GetPath()
}

// flagCodes are what Envoy's own access logs write for the fields of ResponseFlags
// (%RESPONSE_FLAGS%).
var flagCodes = map[protoreflect.Name]string{
	"failed_local_healthcheck":             "LH",
	"no_healthy_upstream":                  "UH",
	"upstream_request_timeout":             "UT",
	"local_reset":                          "LR",
	"upstream_remote_reset":                "UR",
	"upstream_connection_failure":          "UF",
	"upstream_connection_termination":      "UC",
	"upstream_overflow":                    "UO",
	"no_route_found":                       "NR",
	"delay_injected":                       "DI",
	"fault_injected":                       "FI",
	"rate_limited":                         "RL",
	"unauthorized_details":                 "UAEX",
	"rate_limit_service_error":             "RLSE",
	"downstream_connection_termination":    "DC",
	"upstream_retry_limit_exceeded":        "URX",
	"stream_idle_timeout":                  "SI",
	"invalid_envoy_request_headers":        "IH",
	"downstream_protocol_error":            "DPE",
	"upstream_max_stream_duration_reached": "UMSDR",
	"response_from_cache_filter":           "RFCF",
	"no_filter_config_found":               "NFCF",
	"duration_timeout":                     "DT",
	"upstream_protocol_error":              "UPE",
	"no_cluster_found":                     "NC",
	"overload_manager":                     "OM",
	"dns_resolution_failure":               "DF",
	"downstream_remote_reset":              "DR",
}

// flagsOf returns the codes of the flags that are set, in the order of the protocol
// and separated by commas; a flag that has no code yet by its name.
func flagsOf(flags *logdatav3.ResponseFlags) string {
	if flags == nil {
		return ""
	}
	var set []string
	message := flags.ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !message.Has(field) {
			continue
		}
		code, known := flagCodes[field.Name()]
		if !known {
			code = string(field.Name())
		}
		set = append(set, code)
	}
	return strings.Join(set, ",")
}
