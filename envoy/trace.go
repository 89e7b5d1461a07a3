package envoy

import (
	"context"
	"time"

	"warder/authz"
	"warder/authz/mask"
)

// A Tracer is notified when a check begins. The context that it returns is passed to the
// [Decider] and to the [Observer], which is notified when the check ends. Begin must not block.
// A panic in Begin is reported and does not change the response.
type Tracer interface {
	// Begin is called once the request has been read. began is the time at which the check
	// began, and parent is what called warder.
	Begin(ctx context.Context, began time.Time, parent TraceParent) context.Context
}

// A TraceParent is the context of a trace, as the field traceparent carries it (W3C Trace
// Context, section 3.2). The zero value stands for no context.
type TraceParent struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte // bit 0: the caller records its span
}

// Known reports whether there is a context.
func (p TraceParent) Known() bool { return p.TraceID != [16]byte{} && p.SpanID != [8]byte{} }

// traceParentLength is the length of a traceparent of version 00, in bytes. Later versions may
// add to it.
const traceParentLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// parseTraceParent reads the field traceparent. It returns the zero value if the field is not
// valid, because a trace that cannot be continued does not matter to the decision.
func parseTraceParent(text string) (p TraceParent) {
	var version, flags [1]byte
	switch {
	case len(text) < traceParentLength,
		text[2] != '-' || text[35] != '-' || text[52] != '-',
		!lowerHex(version[:], text[0:2]) || version[0] == 0xff,
		len(text) > traceParentLength && (version[0] == 0 || text[traceParentLength] != '-'),
		!lowerHex(p.TraceID[:], text[3:35]),
		!lowerHex(p.SpanID[:], text[36:52]),
		!lowerHex(flags[:], text[53:55]):
		return TraceParent{}
	}
	if p.Flags = flags[0]; !p.Known() {
		return TraceParent{}
	}
	return p
}

// lowerHex decodes hexadecimal digits, two for each byte of to, and reports whether all of them
// are lower case.
func lowerHex(to []byte, digits string) bool {
	for i := range digits {
		var v byte
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
			v = c - '0'
		case 'a' <= c && c <= 'f':
			v = c - 'a' + 10
		default:
			return false
		}
		to[i/2] = to[i/2]<<4 | v
	}
	return true
}

// begin tells the tracer that a check has begun, and returns the context for the rest of it.
// The parent is the span of Envoy that is in the metadata of the call. If there is none,
// because Envoy does not trace, it is the span that the request names itself.
func (s *Server) begin(ctx context.Context, began time.Time, in *CheckRequest, r *authz.Request) (traced context.Context) {
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, s.log, "tracer", fault)
			traced = ctx
		}
	}()
	parent := in.trace
	if !parent.Known() {
		if text, count := r.Headers.First("traceparent"); count == 1 {
			parent = parseTraceParent(text)
		}
	}
	return s.tracer.Begin(ctx, began, parent)
}
