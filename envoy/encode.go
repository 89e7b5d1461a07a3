package envoy

import (
	"net/http"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of the fields that are written, grouped by message type.
const (
	responseStatus   protowire.Number = 1 // CheckResponse
	responseDenied   protowire.Number = 2
	responseOK       protowire.Number = 3
	responseMetadata protowire.Number = 4

	statusCode protowire.Number = 1 // google.rpc.Status, envoy.type.v3.HttpStatus

	deniedStatus  protowire.Number = 1 // DeniedHttpResponse
	deniedHeaders protowire.Number = 2
	deniedBody    protowire.Number = 3

	okHeaders protowire.Number = 2 // OkHttpResponse
	okRemove  protowire.Number = 5

	optionHeader       protowire.Number = 1 // HeaderValueOption
	optionAppendAction protowire.Number = 3

	structFields protowire.Number = 1 // google.protobuf.Struct
	valueString  protowire.Number = 3 // google.protobuf.Value
)

// appendTo appends the wire form of an envoy.service.auth.v3.CheckResponse. Every response that
// is not an allow is encoded as a denial, including the zero value.
func (r *CheckResponse) appendTo(b []byte) []byte {
	if r.status == http.StatusOK {
		b = r.appendYes(b)
	} else {
		b = r.appendNo(b)
	}
	if r.summary && r.about.summarizable() {
		return r.about.appendSummary(b)
	}
	return r.about.appendTo(b)
}

// appendYes appends the status OK and the changes to the request headers.
func (r *CheckResponse) appendYes(b []byte) []byte {
	b = appendMessage(b, responseStatus, 0) // its code is 0: OK
	size := 0
	for _, h := range r.set {
		size += sizeMessage(okHeaders, h.sizeOption())
	}
	for _, name := range r.remove {
		size += sizeText(okRemove, name)
	}
	b = appendMessage(b, responseOK, size)
	for _, h := range r.set {
		b = h.appendOption(b, okHeaders)
	}
	for _, name := range r.remove {
		b = appendText(b, okRemove, name)
	}
	return b
}

// A wireDenial is the wire form of a fixed denial, in two parts. The size of the second part is
// written between them, because the part grows by the CORS headers if there is an origin.
type wireDenial struct{ status, denied []byte }

// denialsOnWire holds the encoded denials without their metadata.
var denialsOnWire = encodeDenials()

type denialKey struct {
	status    int
	challenge string
	form      form
}

// appendNo appends the fixed denial. If there is an origin, it adds the headers that let
// scripts of the origin read the denial.
func (r *CheckResponse) appendNo(b []byte) []byte {
	wire, known := denialsOnWire[denialKey{r.status, r.challenge, r.form}]
	switch {
	case !known:
		wire = denialsOnWire[denialKey{status: http.StatusServiceUnavailable}]
	case r.page != (page{}):
		wire = encodeDenial(r.status, r.challenge, r.form, denials[r.status], r.page)
	}
	b = append(b, wire.status...)
	if !validOrigin(r.origin) { // the usual case
		b = appendMessage(b, responseDenied, len(wire.denied))
		return append(b, wire.denied...)
	}
	size := len(wire.denied)
	headers := corsHeaders(r.origin, r.form)
	for _, h := range headers {
		size += sizeMessage(deniedHeaders, h.sizeOption())
	}
	b = appendMessage(b, responseDenied, size)
	b = append(b, wire.denied...)
	for _, h := range headers {
		b = h.appendOption(b, deniedHeaders)
	}
	return b
}

func encodeDenials() map[denialKey]wireDenial {
	all := map[denialKey]wireDenial{}
	for status, kind := range denials {
		with := []string{""}
		if status == http.StatusUnauthorized {
			with = challenges
		}
		for _, challenge := range with {
			for as := range formCount {
				all[denialKey{status, challenge, as}] = encodeDenial(status, challenge, as, kind, page{})
			}
		}
	}
	return all
}

func encodeDenial(status int, challenge string, as form, kind denial, p page) (wire wireDenial) {
	b := appendMessage(nil, responseStatus, sizeNumber(statusCode, uint64(kind.code)))
	wire.status = appendNumber(b, statusCode, uint64(kind.code))

	httpStatus := uint64(p.status(status)) //nolint:gosec // one of five small numbers
	b = appendMessage(nil, deniedStatus, sizeNumber(statusCode, httpStatus))
	b = appendNumber(b, statusCode, httpStatus)
	headers, body := kind.headers(status, challenge, as), kind.body(status, as)
	if p != (page{}) {
		headers, body = p.headers(headers), p.body
	}
	for _, h := range headers {
		b = h.appendOption(b, deniedHeaders)
	}
	wire.denied = appendText(b, deniedBody, body)
	return wire
}

// overwrite is the append_action that replaces every header of the same name. Its zero value would
// keep the client's value beside ours. The older field append is left out, because Envoy's API
// says that its default is false in a CheckResponse: a version of Envoy that reads only append
// replaces the header too. The field would be a message of its own for each header, which Envoy
// allocates.
const overwrite = uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)

func (h setHeader) sizeOption() int {
	return sizeMessage(optionHeader, h.size()) + sizeNumber(optionAppendAction, overwrite)
}

func (h setHeader) size() int { return sizeText(headerKey, h.name) + sizeText(headerValue, h.value) }

func (h setHeader) appendOption(b []byte, num protowire.Number) []byte {
	b = appendMessage(b, num, h.sizeOption())
	b = appendMessage(b, optionHeader, h.size())
	b = appendText(b, headerKey, h.name)
	b = appendText(b, headerValue, h.value)
	return appendNumber(b, optionAppendAction, overwrite)
}

// appendMessage appends the tag and the size of a message. The caller appends its contents.
func appendMessage(b []byte, num protowire.Number, size int) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size)) //nolint:gosec // a size is not negative
}

func sizeMessage(num protowire.Number, size int) int {
	return protowire.SizeTag(num) + protowire.SizeBytes(size)
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func sizeText(num protowire.Number, s string) int { return sizeMessage(num, len(s)) }

func appendNumber(b []byte, num protowire.Number, n uint64) []byte {
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, n)
}

func sizeNumber(num protowire.Number, n uint64) int {
	return protowire.SizeTag(num) + protowire.SizeVarint(n)
}
