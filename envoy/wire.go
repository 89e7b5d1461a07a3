package envoy

import (
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"warder/authz"
)

// A CheckRequest holds the parts of an envoy.service.auth.v3.CheckRequest that a decision
// needs. It is decoded directly from the wire form, because building the generated message with
// its maps costs more than the decision. The other parts are still validated, so that every
// message that the generated decoder refuses is refused here too.
//
// The strings of a CheckRequest share the memory of the message.
type CheckRequest struct {
	size      int // of the wire form, in bytes
	id        string
	method    string
	host      string
	path      string
	peer      string        // the address of the connection's peer, as text
	principal string        // of the connection's peer, from its certificate
	route     string        // the ID of the route that Envoy's own configuration names
	joined    authz.Headers // from headers: names as sent, in the order sent
	raw       authz.Headers // from header_map
	arrived   time.Time     // when it was received; zero if that is not known
	message   *inbound      // holds the memory; nil if nothing has to be released
	calls     *calls        // to which message belongs

	// Small fields are together, because every check has a CheckRequest.
	trace    TraceParent // from the metadata of the call
	fault    fault       // why it was not read
	readable bool        // it could be decoded
	hasHTTP  bool
	chosen   bool // a route is named by Envoy's own configuration
	odd      bool // header_map has an entry with two different values, or too many entries
}

// Numbers of the fields that are read, grouped by message type.
const (
	checkAttributes protowire.Number = 1 // CheckRequest

	attributesSource  protowire.Number = 1 // AttributeContext
	attributesRequest protowire.Number = 4
	attributesContext protowire.Number = 10 // context_extensions

	peerAddress   protowire.Number = 1 // AttributeContext.Peer
	peerPrincipal protowire.Number = 4

	addressSocket protowire.Number = 1 // Address, one of
	addressPipe   protowire.Number = 2
	addressEnvoy  protowire.Number = 3

	socketHost protowire.Number = 2 // SocketAddress

	requestHTTP protowire.Number = 2 // AttributeContext.Request

	httpID        protowire.Number = 1 // AttributeContext.HttpRequest
	httpMethod    protowire.Number = 2
	httpHeaders   protowire.Number = 3
	httpPath      protowire.Number = 4
	httpHost      protowire.Number = 5
	httpHeaderMap protowire.Number = 13

	entryKey   protowire.Number = 1 // of a map
	entryValue protowire.Number = 2

	headerMapHeaders protowire.Number = 1 // HeaderMap

	headerKey      protowire.Number = 1 // HeaderValue
	headerValue    protowire.Number = 2
	headerRawValue protowire.Number = 3
)

// read reads a message. It recovers from a panic, because nothing above it does, and a panic
// would end the process.
func (r *CheckRequest) read(m *inbound) {
	defer func() {
		if recover() != nil {
			*r = CheckRequest{}
		}
	}()
	if m.fault != faultNone {
		*r = CheckRequest{fault: m.fault}
		return
	}
	r.decode(m.data)
}

// done releases the memory that the request holds.
func (r *CheckRequest) done() {
	if r.message != nil {
		r.calls.answered(r.message)
	}
}

// decode decodes the wire form. It keeps the bytes, which must not be written to any more.
func (r *CheckRequest) decode(data []byte) {
	*r = CheckRequest{size: len(data)}
	d := checkDecoder{decoder: newDecoder(data), out: r}
	r.readable = d.check(d.all())
	if !r.readable {
		*r = CheckRequest{size: len(data)} // discard what was read before the error
	}
}

// A checkDecoder decodes a CheckRequest.
type checkDecoder struct {
	decoder
	out *CheckRequest
	// address is the field number of the form that the peer's address has.
	address protowire.Number
}

func (d *checkDecoder) check(s span) bool {
	return d.message(checkShape, s, func(num protowire.Number, v span) bool {
		return num != checkAttributes || d.attributes(v)
	})
}

func (d *checkDecoder) attributes(s span) bool {
	shape := checkShape.fields[checkAttributes].message
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case attributesSource:
			return d.peer(shape.fields[num].message, v)
		case attributesRequest:
			return d.request(shape.fields[num].message, v)
		case attributesContext:
			return d.extension(shape.fields[num].message, v)
		default:
			return d.skip(shape.fields[num].message, v)
		}
	})
}

func (d *checkDecoder) peer(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case peerAddress:
			return d.peerAddress(shape.fields[num].message, v)
		case peerPrincipal:
			d.out.principal = d.string(v)
			return true
		default:
			return d.skip(shape.fields[num].message, v)
		}
	})
}

func (d *checkDecoder) peerAddress(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		if (num == addressSocket || num == addressPipe || num == addressEnvoy) && num != d.address {
			d.address, d.out.peer = num, "" // this form replaces the one before it
		}
		if num != addressSocket {
			return d.skip(shape.fields[num].message, v)
		}
		socket := shape.fields[num].message
		return d.message(socket, v, func(num protowire.Number, v span) bool {
			if num == socketHost {
				d.out.peer = d.string(v)
			}
			return d.skip(socket.fields[num].message, v)
		})
	})
}

// routeExtension is the key in context_extensions that chooses the route of the policy. The
// context_extensions are part of a route in Envoy's configuration.
const routeExtension = "warder.route"

// extension reads an entry of context_extensions. The last entry of a key counts.
func (d *checkDecoder) extension(shape *shape, s span) bool {
	var key, value string
	if !d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case entryKey:
			key = d.string(v)
		case entryValue:
			value = d.string(v)
		default: // of no interest
		}
		return true
	}) {
		return false
	}
	if key == routeExtension {
		d.out.chosen, d.out.route = true, value
	}
	return true
}

func (d *checkDecoder) request(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		if num == requestHTTP {
			d.out.hasHTTP = true
			return d.http(shape.fields[num].message, v)
		}
		return d.skip(shape.fields[num].message, v)
	})
}

func (d *checkDecoder) http(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case httpID:
			d.out.id = d.string(v)
		case httpMethod:
			d.out.method = d.string(v)
		case httpPath:
			d.out.path = d.string(v)
		case httpHost:
			d.out.host = d.string(v)
		case httpHeaders:
			if d.out.joined == nil {
				d.out.joined = d.roomFor(s, num)
			}
			return d.header(shape.fields[num].message, v)
		case httpHeaderMap:
			return d.headerMap(shape.fields[num].message, v)
		default:
			return d.skip(shape.fields[num].message, v)
		}
		return true
	})
}

// header reads an entry of headers, in which Envoy has joined repeated fields.
func (d *checkDecoder) header(shape *shape, s span) bool {
	var h authz.Header
	if !d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case entryKey:
			h.Name = d.string(v)
		case entryValue:
			h.Value = d.string(v)
		default: // of no interest
		}
		return true
	}) {
		return false
	}
	d.keep(&d.out.joined, h)
	return true
}

func (d *checkDecoder) headerMap(shape *shape, s span) bool {
	if d.out.raw == nil {
		d.out.raw = d.roomFor(s, headerMapHeaders)
	}
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		if num == headerMapHeaders {
			return d.rawHeader(shape.fields[num].message, v)
		}
		return d.skip(shape.fields[num].message, v)
	})
}

// rawHeader reads an entry of header_map, which has a raw value or a plain one.
func (d *checkDecoder) rawHeader(shape *shape, s span) bool {
	var h authz.Header
	var plain string
	if !d.message(shape, s, func(num protowire.Number, v span) bool {
		switch num {
		case headerKey:
			h.Name = d.string(v)
		case headerValue:
			plain = d.string(v)
		case headerRawValue:
			h.Value = d.string(v)
		default: // of no interest
		}
		return true
	}) {
		return false
	}
	if h.Value == "" {
		h.Value = plain
	} else if plain != "" && plain != h.Value {
		d.out.odd = true
	}
	d.keep(&d.out.raw, h)
	return true
}

// MaxHeaders bounds the number of fields of a request. A field uses more memory here than in
// the message, where it can be as small as five bytes.
const MaxHeaders = 16 << 10

// roomFor returns an empty list with room for the fields of this number.
func (d *checkDecoder) roomFor(s span, number protowire.Number) authz.Headers {
	return make(authz.Headers, 0, min(d.count(s, number), MaxHeaders))
}

// keep adds a field to a list. A request with too many fields is not readable.
func (d *checkDecoder) keep(all *authz.Headers, h authz.Header) {
	if len(*all) == MaxHeaders {
		d.out.odd = true
		return
	}
	*all = append(*all, h)
}

// checkShape is the shape of a CheckRequest, derived from the descriptor of the generated code.
var checkShape = shapeOf((*authv3.CheckRequest)(nil).ProtoReflect().Descriptor(), map[protoreflect.FullName]*shape{})
