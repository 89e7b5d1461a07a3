package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"warder/authz/mask"
)

// metadataNamespace is the namespace in which Envoy stores the metadata that [metadataOf]
// returns for a request.
const metadataNamespace = "envoy.filters.http.ext_authz"

// An AccessLog implements envoy.service.accesslog.v3.AccessLogService. Envoy sends an entry for
// each finished request, and AccessLog writes the entry as one masked line of JSON. Envoy sends
// entries in batches, independently of the requests, and drops entries that it cannot deliver,
// so the access log never delays a request. An AccessLog is safe for concurrent use.
type AccessLog struct {
	accesslogv3.UnimplementedAccessLogServiceServer

	lines    io.Writer
	mask     *mask.Masker
	log      *slog.Logger
	dropped  func(lines int)  // never nil
	writers  chan *lineWriter // the idle writers; there are accessWriters in all
	stopping chan struct{}
	stop     sync.Once
}

// NewAccessLog returns an access log that writes one line for each request. It writes each line
// with a single call of Write, which must not block and must not retain the bytes. Every line
// passes through the masker. Internal errors of warder are logged to log. The function dropped
// is called with the number of entries that are not written. It may be nil and must not block.
func NewAccessLog(lines io.Writer, m *mask.Masker, log *slog.Logger, dropped func(lines int)) *AccessLog {
	if dropped == nil {
		dropped = func(int) {}
	}
	l := &AccessLog{lines: lines, mask: m, log: log, dropped: dropped, writers: make(chan *lineWriter, accessWriters), stopping: make(chan struct{})}
	for range accessWriters {
		l.writers <- newLineWriter(l)
	}
	return l
}

// StreamAccessLogs receives the entries of one Envoy worker until Envoy or warder ends. It
// ignores entries of TCP connections, because warder makes no decisions about them.
func (l *AccessLog) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	ended := make(chan error, 1)
	var busy sync.Mutex // held while a message is being written
	go func() { ended <- l.receive(stream, &busy) }()
	select {
	case err := <-ended:
		return err
	case <-l.stopping:
		// Envoy never ends a stream by itself. When this method returns, the RecvMsg call in
		// receive fails. Locking busy waits until a message that was already received is
		// written.
		busy.Lock()
		defer busy.Unlock()
		return nil
	}
}

func (l *AccessLog) receive(stream accesslogv3.AccessLogService_StreamAccessLogsServer, busy *sync.Mutex) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(stream.Context(), l.log, "access log", fault)
			err = errAccessLog
		}
	}()
	for {
		var batch accessBatch
		err := stream.RecvMsg(&batch)
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		l.writeAll(&batch, busy)
	}
}

// writeAll writes the entries of a message. It decodes them one at a time.
func (l *AccessLog) writeAll(batch *accessBatch, busy *sync.Mutex) {
	busy.Lock()
	w := <-l.writers
	defer func() {
		l.writers <- w
		busy.Unlock()
		batch.done()
	}()
	lost := batch.skipped
	for _, text := range batch.entries {
		entry := new(logdatav3.HTTPAccessLogEntry)
		if err := proto.Unmarshal(text, entry); err != nil || w.write(entry) != nil {
			lost++
		}
	}
	if lost > 0 {
		l.dropped(lost)
	}
}

var errAccessLog = errors.New("the access log failed")

// end makes the streams return, so that the server can stop.
func (l *AccessLog) end() {
	if l != nil {
		l.stop.Do(func() { close(l.stopping) })
	}
}

// An accessLine is one line of the access log. Empty fields are omitted, except for the method,
// the path and the status.
type accessLine struct {
	Time            string            `json:"time,omitempty"` // when the request began, RFC 3339 in UTC
	Log             string            `json:"log"`            // always "access"
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	Status          uint32            `json:"status"` // 0 if the client left before there was one
	Flags           string            `json:"flags,omitempty"`
	Details         string            `json:"details,omitempty"`
	DurationMS      float64           `json:"duration_ms"`
	Scheme          string            `json:"scheme,omitempty"`
	Host            string            `json:"host,omitempty"`
	Protocol        string            `json:"protocol,omitempty"`
	BytesReceived   uint64            `json:"bytes_received,omitempty"`
	BytesSent       uint64            `json:"bytes_sent,omitempty"`
	RequestID       string            `json:"request_id,omitempty"`
	Peer            string            `json:"peer,omitempty"`
	ForwardedFor    string            `json:"forwarded_for,omitempty"`
	UserAgent       string            `json:"user_agent,omitempty"`
	Referer         string            `json:"referer,omitempty"`
	OriginalPath    string            `json:"original_path,omitempty"`
	Decision        string            `json:"decision,omitempty"` // this and the fields to ClientIP: see metadataKeys
	Reason          string            `json:"reason,omitempty"`
	Route           string            `json:"route,omitempty"`
	User            string            `json:"user,omitempty"`
	AuthMethod      string            `json:"auth_method,omitempty"`
	KeyPrefix       string            `json:"key_prefix,omitempty"`
	ClientIP        string            `json:"client_ip,omitempty"`
	UpstreamCluster string            `json:"upstream_cluster,omitempty"`
	Upstream        string            `json:"upstream,omitempty"`
	UpstreamFailure string            `json:"upstream_failure,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	RequestHeaders  map[string]string `json:"request_headers,omitempty"`
	ResponseHeaders map[string]string `json:"response_headers,omitempty"`
}

// A lineWriter writes one line at a time. It reuses its buffers for the next line.
type lineWriter struct {
	to      *AccessLog
	text    bytes.Buffer
	encoder *json.Encoder
	masked  []byte
}

// maxLineKept bounds the buffers that a lineWriter keeps after an unusually large line.
const maxLineKept = 64 << 10

func newLineWriter(to *AccessLog) *lineWriter {
	w := &lineWriter{to: to}
	w.encoder = json.NewEncoder(&w.text)
	w.encoder.SetEscapeHTML(false)
	return w
}

func (w *lineWriter) write(e *logdatav3.HTTPAccessLogEntry) error {
	w.text.Reset()
	if err := w.encoder.Encode(w.to.lineOf(e)); err != nil {
		return err
	}
	w.masked = w.to.mask.Append(w.masked[:0], w.text.Bytes())
	_, err := w.to.lines.Write(w.masked)
	if w.text.Cap() > maxLineKept {
		w.text = bytes.Buffer{}
	}
	if cap(w.masked) > maxLineKept {
		w.masked = nil
	}
	return err
}

// lineOf converts an entry to a line. Values that are known to be URLs are masked as URLs.
func (l *AccessLog) lineOf(e *logdatav3.HTTPAccessLogEntry) *accessLine {
	common, request, response := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	decided := common.GetMetadata().GetFilterMetadata()[metadataNamespace].GetFields()
	about := func(key int) string { return begin(decided[metadataKeys[key]].GetStringValue()) }
	line := &accessLine{
		Log:             "access",
		Method:          methodOf(request.GetRequestMethod()),
		Path:            l.mask.Query(begin(request.GetPath())),
		Status:          response.GetResponseCode().GetValue(),
		Flags:           flagsOf(common.GetResponseFlags()),
		Details:         begin(response.GetResponseCodeDetails()),
		DurationMS:      milliseconds(durationOf(common)),
		Scheme:          begin(request.GetScheme()),
		Host:            begin(request.GetAuthority()),
		Protocol:        protocolOf(e.GetProtocolVersion()),
		BytesReceived:   request.GetRequestBodyBytes(),
		BytesSent:       response.GetResponseBodyBytes(),
		RequestID:       begin(request.GetRequestId()),
		Peer:            begin(addressText(common.GetDownstreamDirectRemoteAddress())),
		ForwardedFor:    begin(request.GetForwardedFor()),
		UserAgent:       begin(request.GetUserAgent()),
		Referer:         l.mask.Query(begin(request.GetReferer())),
		Decision:        about(0),
		Reason:          about(1),
		Route:           about(2),
		User:            about(3),
		AuthMethod:      about(4),
		KeyPrefix:       about(5),
		ClientIP:        about(6),
		UpstreamCluster: begin(common.GetUpstreamCluster()),
		Upstream:        begin(addressText(common.GetUpstreamRemoteAddress())),
		UpstreamFailure: begin(common.GetUpstreamTransportFailureReason()),
		Tags:            beginnings(common.GetCustomTags()),
		RequestHeaders:  beginnings(request.GetRequestHeaders()),
		ResponseHeaders: beginnings(response.GetResponseHeaders()),
	}
	if started := common.GetStartTime(); started != nil {
		line.Time = started.AsTime().Format(time.RFC3339Nano)
	}
	if original := request.GetOriginalPath(); original != request.GetPath() {
		line.OriginalPath = l.mask.Query(begin(original))
	}
	return line
}

// begin truncates a text before it is masked.
func begin(s string) string { return mask.NewExcerpt(s).Marked() }

// beginnings truncates names and values before they are masked.
func beginnings(fields map[string]string) map[string]string {
	for name, value := range fields {
		if len(name) > mask.MaxRead {
			delete(fields, name)
			name = begin(name)
		}
		fields[name] = begin(value)
	}
	return fields
}

// methodOf returns the name of the method, or OTHER if the protocol does not define it.
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

// flagCodes maps the fields of ResponseFlags to the codes that Envoy writes in its own access
// logs (%RESPONSE_FLAGS%).
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

// flagsOf returns the codes of the flags that are set, sorted and separated by commas. A flag
// that has no code yet is represented by its field name.
func flagsOf(flags *logdatav3.ResponseFlags) string {
	var set []string
	flags.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		code, known := flagCodes[field.Name()]
		if !known {
			code = string(field.Name())
		}
		set = append(set, code)
		return true
	})
	slices.Sort(set)
	return strings.Join(set, ",")
}
