package envoy

import (
	"bytes"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"warder/authz/mask"
)

// generatedLine returns the line of an entry that the generated decoder and encoding/json make,
// before it is masked, or an error if the entry is not valid.
func generatedLine(m *mask.Masker, text []byte) ([]byte, error) {
	entry := new(logdatav3.HTTPAccessLogEntry)
	if err := proto.Unmarshal(text, entry); err != nil {
		return nil, err
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(lineOf(m, entry))
	return line.Bytes(), err
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

// lineOf converts an entry to a line. Values that are known to be URLs are masked as URLs.
func lineOf(m *mask.Masker, e *logdatav3.HTTPAccessLogEntry) *accessLine {
	common, request, response := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	decided := common.GetMetadata().GetFilterMetadata()[metadataNamespace].GetFields()
	about := func(key int) string {
		pairs := strings.Split(decided["summary"].GetStringValue(), " ")
		for _, pair := range slices.Backward(pairs) {
			if value, found := strings.CutPrefix(pair, metadataKeys[key]+"="); found {
				return begin(value)
			}
		}
		return begin(decided[metadataKeys[key]].GetStringValue())
	}
	line := &accessLine{
		Log:             "access",
		Method:          methodName(request.GetRequestMethod()),
		Path:            m.Query(begin(request.GetPath())),
		Status:          response.GetResponseCode().GetValue(),
		Flags:           flagsOf(common.GetResponseFlags()),
		Details:         begin(response.GetResponseCodeDetails()),
		DurationMS:      milliseconds(durationOf(common)),
		Scheme:          begin(request.GetScheme()),
		Host:            begin(request.GetAuthority()),
		Protocol:        protocolName(e.GetProtocolVersion()),
		BytesReceived:   request.GetRequestBodyBytes(),
		BytesSent:       response.GetResponseBodyBytes(),
		RequestID:       begin(request.GetRequestId()),
		Peer:            begin(addressText(common.GetDownstreamDirectRemoteAddress())),
		ForwardedFor:    begin(request.GetForwardedFor()),
		UserAgent:       begin(request.GetUserAgent()),
		Referer:         m.Query(begin(request.GetReferer())),
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
		line.OriginalPath = m.Query(begin(original))
	}
	return line
}

// beginnings truncates names and values before they are masked.
func beginnings(fields map[string]string) map[string]string {
	cut := map[string]string{}
	for name, value := range fields {
		cut[begin(name)] = begin(value)
	}
	return cut
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

func addressText(a *corev3.Address) string {
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
	}
	return a.GetPipe().GetPath()
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
