package envoy

import (
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A decoder walks through one message. If a field occurs more than once, the last value counts,
// and messages are merged, as protocol buffers specify.
type decoder struct {
	data  []byte
	text  string // data, from which strings are sliced
	depth int    // how many more levels of nested messages are allowed
}

// newDecoder returns a decoder of a message in wire form. The strings that it returns share the
// memory of data, which must not be written to any more. A copy would be as large as everything
// else that a check needs.
func newDecoder(data []byte) decoder {
	text := unsafe.String(unsafe.SliceData(data), len(data)) //nolint:gosec // data is not written to
	return decoder{data: data, text: text, depth: protowire.DefaultRecursionLimit}
}

// A span is a part of the message.
type span struct{ start, end int }

// all returns the span of the whole message.
func (d *decoder) all() span { return span{0, len(d.data)} }

func (d *decoder) string(s span) string { return d.text[s.start:s.end] }

// varint returns the value of a field of kindVarint.
func (d *decoder) varint(s span) uint64 {
	v, _ := protowire.ConsumeVarint(d.data[s.start:s.end])
	return v
}

// count returns how many fields of a message have a number, without validating them.
func (d *decoder) count(s span, number protowire.Number) (n int) {
	for s.start < s.end {
		num, _, size := protowire.ConsumeField(d.data[s.start:s.end])
		if size < 0 {
			break
		}
		if num == number {
			n++
		}
		s.start += size
	}
	return n
}

// skip validates a message that is not needed. A field that is not a message was already
// validated.
func (d *decoder) skip(shape *shape, s span) bool {
	if shape == nil {
		return true
	}
	return d.message(shape, s, func(num protowire.Number, v span) bool {
		return d.skip(shape.fields[num].message, v)
	})
}

// message walks through the fields of a message and calls visit for each field that the shape
// has. It validates the strings. It returns false if the generated decoder would return an
// error, or if visit returns false.
func (d *decoder) message(shape *shape, s span, visit func(protowire.Number, span) bool) bool {
	if d.depth == 0 {
		return false
	}
	d.depth--
	for s.start < s.end {
		num, typ, n := protowire.Number(d.data[s.start]>>3), protowire.Type(d.data[s.start]&7), 1
		if num == 0 || num >= 16 { // not the usual tag of one byte
			if num, typ, n = protowire.ConsumeTag(d.data[s.start:s.end]); n < 0 || num > protowire.MaxValidNumber {
				return false
			}
		}
		s.start += n
		f := shape.field(num)
		if f.kind < kindText || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, d.data[s.start:s.end]); n < 0 {
				return false
			}
			v := span{s.start, s.start + n}
			s.start = v.end
			// A field that is unknown, not needed or of the wrong wire type is ignored.
			number := f.kind == kindVarint && typ == protowire.VarintType || f.kind == kindDouble && typ == protowire.Fixed64Type
			if number && !visit(num, v) {
				return false
			}
			continue
		}
		size, n := uint64(0), 1
		if s.start < s.end && d.data[s.start] < 0x80 { // the usual size of one byte
			size = uint64(d.data[s.start])
		} else {
			size, n = protowire.ConsumeVarint(d.data[s.start:s.end])
		}
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

// A shape is what must be known about a message type to validate a message.
type shape struct {
	fields []shapeField // by number; field numbers in Envoy's messages are small
}

type shapeField struct {
	kind    fieldKind
	message *shape // for kindMessage, which includes the entries of a map
}

type fieldKind uint8

const (
	kindOther  fieldKind = iota // unknown fields, and numbers of other kinds
	kindVarint                  // integers, booleans and enums
	kindDouble
	kindText // this and the following kinds have a length
	kindBytes
	kindMessage
)

func (s *shape) field(num protowire.Number) shapeField {
	if int(num) < len(s.fields) {
		return s.fields[num]
	}
	return shapeField{}
}

func shapeOf(message protoreflect.MessageDescriptor, known map[protoreflect.FullName]*shape) *shape {
	if s := known[message.FullName()]; s != nil {
		return s
	}
	s := new(shape)
	known[message.FullName()] = s // before its fields, because a Struct contains Structs
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
		case protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.Int32Kind, protoreflect.Int64Kind,
			protoreflect.Uint32Kind, protoreflect.Uint64Kind:
			s.fields[num].kind = kindVarint
		case protoreflect.DoubleKind:
			s.fields[num].kind = kindDouble
		default: // not in Envoy's messages
		}
	}
	return s
}
