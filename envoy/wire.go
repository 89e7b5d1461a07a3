package envoy

import (
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"warder/authz"
)

// A CheckRequest is what a decision needs of an
// envoy.service.auth.v3.CheckRequest, taken straight out of its wire form: building
// the generated message with its maps costs more than deciding. What is not needed is
// still checked, so that whatever the generated decoder refuses is refused here too.
//
// Its texts share one copy of the message, which nothing else uses.
type CheckRequest struct {
	fault     fault // it was not read
	readable  bool  // it could be decoded
	size      int   // of the wire form, in bytes
	hasHTTP   bool
	id        string
	method    string
	host      string
	path      string
	peer      string        // the address of the connection's other end, as text
	principal string        // of the connection's other end, from its certificate
	chosen    bool          // a route is named by Envoy's own configuration:
	route     string        // its id
	joined    authz.Headers // headers: names as sent, later entries of a name last
	raw       authz.Headers // header_map
	odd       bool          // an entry of header_map has two values that differ, or there are too many entries
	release   func()        // gives back the memory of the message; nil: nothing is held
}

// The numbers of the fields that are read, by the message that holds them.
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

// read reads a message. Nothing above it catches a panic, which would end the process.
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

// done gives back what the request holds of the memory for peers.
func (r *CheckRequest) done() {
	if r.release != nil {
		r.release()
	}
}

// decode reads the wire form. The bytes are not kept.
func (r *CheckRequest) decode(data []byte) {
	*r = CheckRequest{size: len(data)}
	d := decoder{data: data, text: string(data), depth: protowire.DefaultRecursionLimit, out: r}
	r.readable = d.check(span{0, len(data)})
	if !r.readable {
		*r = CheckRequest{size: len(data)} // nothing of what was read before it broke off
	}
}

// A decoder walks through one message. Of a field that comes more than once the last one
// counts, and messages are merged, as protocol buffers have it.
type decoder struct {
	data  []byte
	text  string // the same, to take strings from
	depth int    // of messages in messages that are still allowed
	out   *CheckRequest
	// which of its forms the peer's address has
	address protowire.Number
}

// A span is a part of the message.
type span struct{ start, end int }

func (d *decoder) string(s span) string { return d.text[s.start:s.end] }

func (d *decoder) check(s span) bool {
	return d.message(checkShape, s, func(num protowire.Number, v span) bool {
		return num != checkAttributes || d.attributes(v)
	})
}

func (d *decoder) attributes(s span) bool {
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

func (d *decoder) peer(shape *shape, s span) bool {
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

func (d *decoder) peerAddress(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		if (num == addressSocket || num == addressPipe || num == addressEnvoy) && num != d.address {
			d.address, d.out.peer = num, "" // another form replaces the one before
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

// routeExtension is the entry of context_extensions, part of a route in Envoy's
// configuration, that chooses the route of the policy.
const routeExtension = "warder.route"

// extension reads an entry of context_extensions, of which the last one of a key counts.
func (d *decoder) extension(shape *shape, s span) bool {
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

func (d *decoder) request(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		if num == requestHTTP {
			d.out.hasHTTP = true
			return d.http(shape.fields[num].message, v)
		}
		return d.skip(shape.fields[num].message, v)
	})
}

func (d *decoder) http(shape *shape, s span) bool {
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
func (d *decoder) header(shape *shape, s span) bool {
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

func (d *decoder) headerMap(shape *shape, s span) bool {
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		if num == headerMapHeaders {
			return d.rawHeader(shape.fields[num].message, v)
		}
		return d.skip(shape.fields[num].message, v)
	})
}

// rawHeader reads an entry of header_map, which has a raw value or a plain one.
func (d *decoder) rawHeader(shape *shape, s span) bool {
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

const (
	// usualHeaders is how many fields a request mostly has at most.
	usualHeaders = 24
	// MaxHeaders bounds the fields of a request: each takes more room here than the five
	// bytes that it can have in a message.
	MaxHeaders = 16 << 10
)

// keep adds a field to a list. A request with too many is unreadable.
func (d *decoder) keep(all *authz.Headers, h authz.Header) {
	switch {
	case *all == nil:
		*all = make(authz.Headers, 0, usualHeaders)
	case len(*all) == MaxHeaders:
		d.out.odd = true
		return
	}
	*all = append(*all, h)
}

// skip checks a message that is not read; a field that is none is checked already.
func (d *decoder) skip(shape *shape, s span) bool {
	if shape == nil {
		return true
	}
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		return d.skip(shape.fields[num].message, v)
	})
}

// message walks through the fields of a message and calls visit for each text,
// bytes and message in it, texts being checked. It returns false where the generated
// decoder returns an error, and when visit does.
func (d *decoder) message(shape *shape, s span, visit func(protowire.Number, span) bool) bool {
	if d.depth == 0 {
		return false
	}
	d.depth--
	for s.start < s.end {
		num, typ, n := protowire.ConsumeTag(d.data[s.start:s.end])
		if n < 0 || num > protowire.MaxValidNumber {
			return false
		}
		s.start += n
		f := shape.field(num)
		if f.kind == kindOther || typ != protowire.BytesType {
			// Unknown, of no interest, or of another type than it should be, which is
			// as good as unknown.
			if n = protowire.ConsumeFieldValue(num, typ, d.data[s.start:s.end]); n < 0 {
				return false
			}
			s.start += n
			continue
		}
		size, n := protowire.ConsumeVarint(d.data[s.start:s.end])
		if n < 0 || size > uint64(s.end-s.start-n) { //nolint:gosec // not negative: n is at most what is left
			return false
		}
		v := span{s.start + n, s.start + n + int(size)} //nolint:gosec // at most what is left
		s.start = v.end
		if f.kind == kindText && !utf8.Valid(d.data[v.start:v.end]) {
			return false
		}
		if !visit(num, v) {
			return false
		}
	}
	d.depth++
	return true
}

// A shape is what has to be known of a type of message to check it.
type shape struct {
	fields []shapeField // by number; those of Envoy's messages are small
}

type shapeField struct {
	kind    fieldKind
	message *shape // of kindMessage, which the entries of a map are too
}

type fieldKind uint8

const (
	kindOther fieldKind = iota // numbers, and what is unknown
	kindText
	kindBytes
	kindMessage
)

func (s *shape) field(num protowire.Number) shapeField {
	if int(num) < len(s.fields) {
		return s.fields[num]
	}
	return shapeField{}
}

// checkShape is that of a CheckRequest, made of the generated code's own description.
var checkShape = shapeOf((*authv3.CheckRequest)(nil).ProtoReflect().Descriptor(), map[protoreflect.FullName]*shape{})

func shapeOf(message protoreflect.MessageDescriptor, known map[protoreflect.FullName]*shape) *shape {
	if s := known[message.FullName()]; s != nil {
		return s
	}
	s := new(shape)
	known[message.FullName()] = s // before its fields: a Struct holds Structs
	all := message.Fields()
	for i := range all.Len() {
		fd := all.Get(i)
		num := int(fd.Number())
		if num >= len(s.fields) {
			s.fields = append(s.fields, make([]shapeField, num+1-len(s.fields))...)
		}
		switch fd.Kind() {
		case protoreflect.StringKind:
			s.fields[num].kind = kindText
		case protoreflect.BytesKind:
			s.fields[num].kind = kindBytes
		case protoreflect.MessageKind:
			s.fields[num] = shapeField{kindMessage, shapeOf(fd.Message(), known)}
		default: // numbers are skipped
		}
	}
	return s
}
