package envoy

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// An accessEntry holds the parts of an envoy.data.accesslog.v3.HTTPAccessLogEntry that are
// logged. Like a [CheckRequest], it is decoded directly from the wire form, and every entry that
// the generated decoder refuses is refused here too. An accessEntry is reused for the next entry.
//
// The strings of an accessEntry share the memory of the entry.
type accessEntry struct {
	protocol logdatav3.HTTPAccessLogEntry_HTTPVersion

	peer, upstream  entryAddress
	started         entryTime
	took            [3]entryTime // in the order of preference: see tookFields
	cluster         string
	flags           uint64   // a bit for each field of ResponseFlags that is set
	decided         metadata // of the ext_authz filter
	upstreamFailure string
	tags            map[string]string

	method                                      corev3.RequestMethod
	scheme, authority, path, originalPath       string
	userAgent, referer, forwardedFor, requestID string
	bytesReceived                               uint64
	requestHeaders                              map[string]string
	status                                      uint32
	bytesSent                                   uint64
	details                                     string
	responseHeaders                             map[string]string
}

// An entryAddress is a core.v3.Address.
type entryAddress struct {
	form protowire.Number // the field that is set: addressSocket, addressPipe or addressEnvoy
	host string
	port uint32
	path string
}

// text returns the address of a socket or the path of a pipe. Other forms have no text.
func (a *entryAddress) text() string {
	if a.form == addressSocket {
		return net.JoinHostPort(a.host, strconv.FormatUint(uint64(a.port), 10))
	}
	return a.path
}

// An entryTime is a Timestamp or a Duration.
type entryTime struct {
	known   bool
	seconds int64
	nanos   int32
}

func (t *entryTime) time() time.Time {
	v := timestamppb.Timestamp{Seconds: t.seconds, Nanos: t.nanos}
	return v.AsTime()
}

func (t *entryTime) duration() time.Duration {
	v := durationpb.Duration{Seconds: t.seconds, Nanos: t.nanos}
	return v.AsDuration()
}

// duration returns how long the request took, from its first byte in to its last byte out.
func (e *accessEntry) duration() time.Duration {
	for i := range e.took {
		if e.took[i].known {
			return e.took[i].duration()
		}
	}
	return 0
}

// maxTableKept bounds the maps that an accessEntry keeps after an unusual entry.
const maxTableKept = 64

// reset clears an entry, but keeps the memory of its maps.
func (e *accessEntry) reset() {
	tables := [...]map[string]string{e.tags, e.requestHeaders, e.responseHeaders}
	for i, t := range tables {
		if t == nil || len(t) > maxTableKept {
			tables[i] = map[string]string{}
		}
		clear(t)
	}
	*e = accessEntry{tags: tables[0], requestHeaders: tables[1], responseHeaders: tables[2]}
}

// decode decodes the wire form and reports whether it is valid. It keeps the bytes until the
// next reset. They must not be written to any more.
func (e *accessEntry) decode(data []byte) bool {
	e.reset()
	d := entryDecoder{decoder: newDecoder(data), out: e}
	return d.entry(d.all())
}

// Numbers of the fields that are read, grouped by message type.
const (
	entryCommon   protowire.Number = 1 // HTTPAccessLogEntry
	entryProtocol protowire.Number = 2
	entryRequest  protowire.Number = 3
	entryResponse protowire.Number = 4

	commonStarted         protowire.Number = 5 // AccessLogCommon
	commonLastReceived    protowire.Number = 6
	commonLastSent        protowire.Number = 12
	commonUpstream        protowire.Number = 13
	commonCluster         protowire.Number = 15
	commonFlags           protowire.Number = 16
	commonMetadata        protowire.Number = 17
	commonUpstreamFailure protowire.Number = 18
	commonPeer            protowire.Number = 20
	commonTags            protowire.Number = 22
	commonDuration        protowire.Number = 23

	loggedMethod       protowire.Number = 1 // HTTPRequestProperties
	loggedScheme       protowire.Number = 2
	loggedAuthority    protowire.Number = 3
	loggedPath         protowire.Number = 5
	loggedUserAgent    protowire.Number = 6
	loggedReferer      protowire.Number = 7
	loggedForwardedFor protowire.Number = 8
	loggedRequestID    protowire.Number = 9
	loggedOriginalPath protowire.Number = 10
	loggedBytes        protowire.Number = 12
	loggedHeaders      protowire.Number = 13

	answeredCode    protowire.Number = 1 // HTTPResponseProperties
	answeredBytes   protowire.Number = 3
	answeredHeaders protowire.Number = 4
	answeredDetails protowire.Number = 6

	socketPort      protowire.Number = 3 // SocketAddress, one of
	socketNamedPort protowire.Number = 4

	pipePath protowire.Number = 1 // Pipe

	timeSeconds protowire.Number = 1 // Timestamp, Duration
	timeNanos   protowire.Number = 2

	wrappedValue protowire.Number = 1 // UInt32Value

	metadataFilters protowire.Number = 1 // Metadata
)

// entryShape is the shape of an HTTPAccessLogEntry, derived from the descriptor of the generated
// code.
var entryShape = shapeOf((*logdatav3.HTTPAccessLogEntry)(nil).ProtoReflect().Descriptor(), map[protoreflect.FullName]*shape{})

// An entryDecoder decodes an accessEntry.
type entryDecoder struct {
	decoder
	out *accessEntry
}

func (d *entryDecoder) entry(s span) bool {
	return d.message(entryShape, s, func(num protowire.Number, v span) bool {
		of := entryShape.fields[num].message
		switch num {
		case entryCommon:
			return d.common(of, v)
		case entryProtocol:
			d.out.protocol = logdatav3.HTTPAccessLogEntry_HTTPVersion(d.int32(v))
		case entryRequest:
			return d.request(of, v)
		case entryResponse:
			return d.response(of, v)
		default:
			return d.skip(of, v)
		}
		return true
	})
}

func (d *entryDecoder) common(shape *shape, s span) bool {
	out := d.out
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		of := shape.fields[num].message
		switch num {
		case commonStarted:
			return d.time(of, v, &out.started)
		case commonDuration:
			return d.time(of, v, &out.took[0])
		case commonLastSent:
			return d.time(of, v, &out.took[1])
		case commonLastReceived:
			return d.time(of, v, &out.took[2])
		case commonPeer:
			return d.address(of, v, &out.peer)
		case commonUpstream:
			return d.address(of, v, &out.upstream)
		case commonCluster:
			out.cluster = d.string(v)
		case commonUpstreamFailure:
			out.upstreamFailure = d.string(v)
		case commonFlags:
			return d.flags(of, v)
		case commonMetadata:
			return d.metadata(of, v)
		case commonTags:
			return d.pair(of, v, out.tags)
		default:
			return d.skip(of, v)
		}
		return true
	})
}

func (d *entryDecoder) request(shape *shape, s span) bool {
	out := d.out
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		of := shape.fields[num].message
		switch num {
		case loggedMethod:
			out.method = corev3.RequestMethod(d.int32(v))
		case loggedScheme:
			out.scheme = d.string(v)
		case loggedAuthority:
			out.authority = d.string(v)
		case loggedPath:
			out.path = d.string(v)
		case loggedUserAgent:
			out.userAgent = d.string(v)
		case loggedReferer:
			out.referer = d.string(v)
		case loggedForwardedFor:
			out.forwardedFor = d.string(v)
		case loggedRequestID:
			out.requestID = d.string(v)
		case loggedOriginalPath:
			out.originalPath = d.string(v)
		case loggedBytes:
			out.bytesReceived = d.varint(v)
		case loggedHeaders:
			return d.pair(of, v, out.requestHeaders)
		default:
			return d.skip(of, v)
		}
		return true
	})
}

func (d *entryDecoder) response(shape *shape, s span) bool {
	out := d.out
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		of := shape.fields[num].message
		switch num {
		case answeredCode:
			return d.message(of, v, func(num protowire.Number, v span) bool {
				if num == wrappedValue {
					out.status = d.uint32(v)
				}
				return true
			})
		case answeredBytes:
			out.bytesSent = d.varint(v)
		case answeredDetails:
			out.details = d.string(v)
		case answeredHeaders:
			return d.pair(of, v, out.responseHeaders)
		default:
			return d.skip(of, v)
		}
		return true
	})
}

// int32 returns the value of an int32 or an enum. The generated decoder ignores the upper bits
// too.
func (d *entryDecoder) int32(s span) int32 { return int32(d.varint(s)) } //nolint:gosec // see above

func (d *entryDecoder) uint32(s span) uint32 { return uint32(d.varint(s)) } //nolint:gosec // as for int32

func (d *entryDecoder) time(shape *shape, s span, to *entryTime) bool {
	to.known = true
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case timeSeconds:
			to.seconds = int64(d.varint(v)) //nolint:gosec // a negative number has the upper bit
		case timeNanos:
			to.nanos = d.int32(v)
		default: // there is no other
		}
		return true
	})
}

func (d *entryDecoder) address(shape *shape, s span, to *entryAddress) bool {
	return d.message(shape, s, func(form protowire.Number, v span) bool {
		of := shape.fields[form].message
		if form != to.form {
			*to = entryAddress{form: form} // this form replaces the one before it
		}
		return d.message(of, v, func(num protowire.Number, v span) bool {
			switch {
			case form == addressSocket && num == socketHost:
				to.host = d.string(v)
			case form == addressSocket && num == socketPort:
				to.port = d.uint32(v)
			case form == addressSocket && num == socketNamedPort:
				to.port = 0
			case form == addressPipe && num == pipePath:
				to.path = d.string(v)
			}
			return d.skip(of.fields[num].message, v)
		})
	})
}

func (d *entryDecoder) flags(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		bit, of := uint64(1)<<num, shape.fields[num].message
		if of != nil || d.varint(v) != 0 { // a message is set even if it is empty
			d.out.flags |= bit
		} else {
			d.out.flags &^= bit
		}
		return d.skip(of, v)
	})
}

// pair reads an entry of a map of strings. It truncates them, so that names are compared as they
// are logged.
func (d *entryDecoder) pair(shape *shape, s span, to map[string]string) bool {
	var name, value string
	if !d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case entryKey:
			name = d.string(v)
		case entryValue:
			value = d.string(v)
		default: // of no interest
		}
		return true
	}) {
		return false
	}
	to[begin(name)] = begin(value)
	return true
}

func (d *entryDecoder) metadata(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		of := shape.fields[num].message
		if num == metadataFilters {
			return d.filter(of, v)
		}
		return d.skip(of, v)
	})
}

// filter reads the metadata of one filter. An entry of a map replaces the entry before it that
// has the same key, but is itself merged from all of its values.
func (d *entryDecoder) filter(shape *shape, s span) bool {
	var namespace, summary string
	var decided metadata
	if !d.message(shape, s, func(num protowire.Number, v span) bool {
		if num == entryKey {
			namespace = d.string(v)
			return true
		}
		return d.values(shape.fields[num].message, v, &decided, &summary)
	}) {
		return false
	}
	if namespace == metadataNamespace {
		decided.readSummary(summary)
		d.out.decided = decided
	}
	return true
}

// values reads the metadata from a Struct, and the summary that it may have instead.
func (d *entryDecoder) values(shape *shape, s span, to *metadata, summary *string) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		var key, value string
		entry := shape.fields[num].message
		if !d.message(entry, v, func(num protowire.Number, v span) bool {
			if num == entryKey {
				key = d.string(v)
				return true
			}
			kinds := entry.fields[num].message
			return d.message(kinds, v, func(kind protowire.Number, v span) bool {
				if value = ""; kind == valueString { // the last kind counts
					value = d.string(v)
				}
				return d.skip(kinds.fields[kind].message, v)
			})
		}) {
			return false
		}
		if key == summaryKey {
			*summary = value
		}
		to.set(key, value)
		return true
	})
}

// methodName returns the name of a method, or OTHER if the protocol does not define it.
func methodName(m corev3.RequestMethod) string {
	if m == corev3.RequestMethod_METHOD_UNSPECIFIED {
		return "OTHER"
	}
	return m.String()
}

func protocolName(v logdatav3.HTTPAccessLogEntry_HTTPVersion) string {
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

// A flag is a field of ResponseFlags. Its number is less than 64.
type flag struct {
	num  protoreflect.FieldNumber
	code string
}

// allFlags lists the flags in the order of their codes. A flag that has no code yet is
// represented by its field name.
var allFlags = sortedFlags((*logdatav3.ResponseFlags)(nil).ProtoReflect().Descriptor().Fields())

func sortedFlags(fields protoreflect.FieldDescriptors) (all []flag) {
	for i := range fields.Len() {
		field := fields.Get(i)
		code, known := flagCodes[field.Name()]
		if !known {
			code = string(field.Name())
		}
		all = append(all, flag{field.Number(), code})
	}
	slices.SortFunc(all, func(a, b flag) int { return strings.Compare(a.code, b.code) })
	return all
}

// flagText returns the codes of the flags that are set, sorted and separated by commas.
func flagText(set uint64) string {
	text := ""
	for _, f := range allFlags {
		switch {
		case set&(1<<f.num) == 0:
		case text == "":
			text = f.code
		default:
			text += "," + f.code
		}
	}
	return text
}
