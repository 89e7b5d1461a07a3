package envoy

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// usualEntry is an entry as the shipped configurations make Envoy send it.
func usualEntry(t testing.TB) *logdatav3.HTTPAccessLogEntry {
	t.Helper()
	decided, err := structpb.NewStruct(map[string]any{
		"decision": "allow", "reason": "session", "route": "users", "user": "42", "auth_method": "session", "client_ip": "203.0.113.9",
	})
	if err != nil {
		t.Fatal(err)
	}
	after := func(d time.Duration) *durationpb.Duration { return durationpb.New(d * time.Microsecond) }
	return &logdatav3.HTTPAccessLogEntry{
		ProtocolVersion: logdatav3.HTTPAccessLogEntry_HTTP11,
		CommonProperties: &logdatav3.AccessLogCommon{
			DownstreamRemoteAddress: socketAddress("203.0.113.9"), DownstreamLocalAddress: socketAddress("10.0.0.1"),
			DownstreamDirectRemoteAddress: socketAddress("10.0.0.7"), UpstreamRemoteAddress: socketAddress("127.0.0.1"), UpstreamLocalAddress: socketAddress("127.0.0.1"),
			StartTime: timestamppb.New(time.Unix(1767225600, 123456000)), TimeToLastRxByte: after(10),
			TimeToFirstUpstreamTxByte: after(300), TimeToLastUpstreamTxByte: after(320), TimeToFirstUpstreamRxByte: after(1800), TimeToLastUpstreamRxByte: after(1900),
			TimeToFirstDownstreamTxByte: after(1950), TimeToLastDownstreamTxByte: after(2038), Duration: after(2038),
			UpstreamCluster: "app", RouteName: "all", ResponseFlags: &logdatav3.ResponseFlags{},
			Metadata:   &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataNamespace: decided}},
			CustomTags: map[string]string{"authz_us": "729"}, StreamId: "9f3c2f6e-2b7a-4c1d-8a55-0f4a4b7f1f10",
			DownstreamWireBytesSent: 500, DownstreamWireBytesReceived: 900, UpstreamWireBytesSent: 900, UpstreamWireBytesReceived: 400,
		},
		Request: &logdatav3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_GET, Scheme: "https", Authority: "api.example.com", Path: "/users/x?page=2", OriginalPath: "/users/x?page=2",
			UserAgent: usual[0].Value, Referer: "https://app.example.com/assets", ForwardedFor: "203.0.113.9", RequestId: usual[8].Value,
			RequestHeadersBytes: 900, RequestHeaders: map[string]string{"origin": "https://app.example.com", "traceparent": usual[9].Value},
		},
		Response: &logdatav3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(200), ResponseHeadersBytes: 100, ResponseBodyBytes: 321, ResponseCodeDetails: "via_upstream",
		},
	}
}

// oddEntry is an entry in which every field that is logged is unusual.
func oddEntry(t testing.TB) *logdatav3.HTTPAccessLogEntry {
	t.Helper()
	e := usualEntry(t)
	e.ProtocolVersion = logdatav3.HTTPAccessLogEntry_HTTP3
	common, request, response := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	common.StartTime = &timestamppb.Timestamp{Seconds: 1 << 40, Nanos: -1}
	common.Duration = &durationpb.Duration{Seconds: math.MinInt64, Nanos: math.MinInt32}
	common.ResponseFlags = &logdatav3.ResponseFlags{
		UpstreamConnectionFailure: true, DownstreamConnectionTermination: true, DnsResolutionFailure: true,
		UnauthorizedDetails: &logdatav3.ResponseFlags_Unauthorized{Reason: logdatav3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE},
	}
	common.UpstreamTransportFailureReason = "TLS error: \"bad\"\n\u2028"
	common.DownstreamDirectRemoteAddress = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/s", Mode: 7}}}
	common.UpstreamRemoteAddress = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "2001:db8::7", PortSpecifier: &corev3.SocketAddress_NamedPort{NamedPort: "http"},
	}}}
	common.CustomTags = map[string]string{"": "", "b": "<&>", "a\x00": "\\", "password": "canary"}
	common.Metadata.FilterMetadata["other"] = common.GetMetadata().GetFilterMetadata()[metadataNamespace]
	common.Metadata.FilterMetadata[metadataNamespace] = &structpb.Struct{Fields: map[string]*structpb.Value{
		"decision": structpb.NewNumberValue(1.5), "reason": structpb.NewNullValue(), "route": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("x")}}),
		"user": structpb.NewStringValue("é"), "unknown": structpb.NewBoolValue(true),
	}}
	request.RequestMethod, request.Path, request.OriginalPath = 99, "/x?token=canary&é=\x7f", "/reset?token=canary"
	request.Referer, request.RequestBodyBytes = "https://user:canary@example.com", math.MaxUint64
	request.UserAgent = strings.Repeat("a b", 8<<10)
	response.ResponseCode, response.ResponseBodyBytes = wrapperspb.UInt32(math.MaxUint32), math.MaxUint64
	response.ResponseHeaders = map[string]string{strings.Repeat("n ", 5<<10): strings.Repeat("v ", 5<<10), "set-cookie": "a=canary"}
	return e
}

// compareEntry tests that an entry gets the line that it gets from the generated decoder and
// encoding/json, or that both refuse it. It reports whether the entry is valid. The writer has
// written other entries before.
func compareEntry(t *testing.T, w *lineWriter, text []byte) bool {
	t.Helper()
	want, err := generatedLine(w.to.mask, text)
	if valid := w.entry.decode(text); valid != (err == nil) {
		t.Fatalf("%x: valid %v, and the generated decoder says %v", text, valid, err)
	} else if !valid {
		return false
	}
	w.line()
	if got := w.text.String(); got != string(want) {
		t.Fatalf("%x:\n got %s\nwant %s", text, got, want)
	}
	return true
}

func marshaled(t testing.TB, m proto.Message) []byte {
	t.Helper()
	text, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wireField appends a field with a length, in fields of the other numbers, the outermost first.
func wireField(value []byte, numbers ...protowire.Number) []byte {
	for _, num := range slices.Backward(numbers) {
		value = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), value)
	}
	return value
}

func wireNumber(n uint64, num protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), n)
}

// oddEntries are entries that the generated encoder does not write. The generated decoder
// accepts some of them.
func oddEntries(t testing.TB) map[string][]byte {
	t.Helper()
	usual := marshaled(t, usualEntry(t))
	text := func(s string, num protowire.Number) []byte { return wireField([]byte(s), num) }
	common := func(value []byte, numbers ...protowire.Number) []byte {
		return wireField(value, append([]protowire.Number{entryCommon}, numbers...)...)
	}
	value := func(s string) []byte { return text(s, valueString) }
	field := func(key string, values ...[]byte) []byte { // of a Struct
		f := text(key, entryKey)
		for _, v := range values {
			f = append(f, wireField(v, entryValue)...)
		}
		return wireField(f, structFields)
	}
	filter := func(parts ...[]byte) []byte { return common(slices.Concat(parts...), commonMetadata, metadataFilters) }
	named, of := text(metadataNamespace, entryKey), func(fields ...[]byte) []byte { return wireField(slices.Concat(fields...), entryValue) }
	socket := func(parts ...[]byte) []byte { return common(slices.Concat(parts...), commonPeer, addressSocket) }
	host, port := text("192.0.2.1", socketHost), wireNumber(80, socketPort)
	tag := func(parts ...[]byte) []byte { return common(slices.Concat(parts...), commonTags) }
	return map[string][]byte{
		"nothing":                         nil,
		"the last one counts":             slices.Concat(usual, wireField(text("/last", loggedPath), entryRequest), wireNumber(2, entryProtocol)),
		"two parts are merged":            slices.Concat(usual, wireField(text("POST?", loggedScheme), entryRequest), common(text("other", commonCluster))),
		"a string of a wrong wire type":   append(slices.Clone(usual), wireField(wireNumber(5, loggedPath), entryRequest)...),
		"a number of a wrong wire type":   append(slices.Clone(usual), wireField([]byte{1}, entryProtocol)...),
		"a message of a wrong wire type":  append(slices.Clone(usual), wireNumber(1, entryResponse)...),
		"a double of a wrong wire type":   filter(named, of(field("user", value("u"), wireNumber(1, 2)))),
		"invalid UTF-8":                   wireField(text("\xff", loggedPath), entryRequest),
		"invalid UTF-8 not logged":        common(text("\xff", 26)),
		"invalid UTF-8 in a name":         tag(text("\xff", entryKey)),
		"invalid UTF-8 in other metadata": filter(text("x", entryKey), of(field("a", value("\xff")))),
		"an unknown field":                append(slices.Clone(usual), wireField([]byte("x"), 500)...),
		"an unknown group":                append(slices.Clone(usual), 0xa3, 0x1f, 0x08, 1, 0xa4, 0x1f),
		"an open group":                   append(slices.Clone(usual), 0xa3, 0x1f),
		"the end of a group":              append(slices.Clone(usual), 0xa4, 0x1f),
		"a field number above 29 bits":    append(protowire.AppendVarint(slices.Clone(usual), 1<<32), 0),
		"field number 0":                  append(slices.Clone(usual), 0x02, 0),
		"cut":                             usual[:len(usual)-1],
		"a size above the rest":           {0x0a, 0x7f},
		"a size above 64 bits":            {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"a number above 64 bits":          {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"a number that is cut":            wireField([]byte{0x08, 0x80}, entryResponse, answeredCode),
		"a status above 32 bits":          wireField(wireNumber(1<<33+404, wrappedValue), entryResponse, answeredCode),
		"a method above 32 bits":          wireField(wireNumber(1<<32+2, loggedMethod), entryRequest),
		"a negative method":               wireField(wireNumber(math.MaxUint64, loggedMethod), entryRequest),
		"an unknown protocol":             wireNumber(77, entryProtocol),
		"a status without value":          wireField(nil, entryResponse, answeredCode),
		"a flag that is cleared":          slices.Concat(common(wireNumber(1, 2), commonFlags), common(wireNumber(0, 2), commonFlags), common(wireNumber(3, 4), commonFlags)),
		"a flag that is a message":        common(wireField(nil, 13), commonFlags),
		"a port without a host":           socket(port),
		"a host without a port":           socket(host),
		"a socket in parts":               slices.Concat(socket(host), socket(port)),
		"a port and then its name":        socket(host, port, text("http", socketNamedPort)),
		"the name of a port and then it":  socket(host, text("http", socketNamedPort), port),
		"a socket and then a pipe":        slices.Concat(socket(host, port), common(text("/s", pipePath), commonPeer, addressPipe)),
		"a pipe and then a socket":        slices.Concat(common(text("/s", pipePath), commonPeer, addressPipe), socket(port)),
		"a socket and then a listener":    slices.Concat(socket(host), common(text("l", 1), commonPeer, addressEnvoy)),
		"a socket, a pipe and a socket":   slices.Concat(socket(host), common(nil, commonPeer, addressPipe), socket(port)),
		"a socket of a wrong wire type":   slices.Concat(socket(host), common(wireNumber(1, addressPipe), commonPeer)),
		"an empty address":                common(nil, commonPeer),
		"no duration":                     common(nil, commonStarted),
		"a duration that is empty":        slices.Concat(common(nil, commonDuration), common(wireNumber(5, timeSeconds), commonLastSent)),
		"the last byte sent":              slices.Concat(common(wireNumber(5, timeSeconds), commonLastSent), common(wireNumber(6, timeSeconds), commonLastReceived)),
		"the last byte received":          common(wireNumber(math.MaxUint64, timeSeconds), commonLastReceived),
		"a duration in parts":             slices.Concat(common(wireNumber(5, timeSeconds), commonDuration), common(wireNumber(1e6, timeNanos), commonDuration)),
		"a tag without a value":           tag(text("a", entryKey)),
		"a tag without a name":            tag(text("a", entryValue)),
		"two tags of one name":            slices.Concat(tag(text("a", entryKey), text("1", entryValue)), tag(text("2", entryValue), text("a", entryKey))),
		"a tag with two names":            tag(text("a", entryKey), text("1", entryValue), text("b", entryKey)),
		"metadata of two entries":         slices.Concat(filter(named, of(field("user", value("u")), field("route", value("r")))), filter(named, of(field("user", value("v"))))),
		"metadata with two values":        filter(of(field("user", value("u"))), named, of(field("route", value("r")))),
		"metadata without a value":        slices.Concat(filter(named, of(field("user", value("u")))), filter(named)),
		"metadata of two names":           filter(named, of(field("user", value("u"))), text("x", entryKey)),
		"metadata of another filter":      slices.Concat(filter(named, of(field("user", value("u")))), filter(text("x", entryKey), of(field("user", value("v"))))),
		"a user twice":                    filter(named, of(field("user", value("u")), field("user", value("v")))),
		"a user in parts":                 filter(named, of(field("user", value("u"), value("v")))),
		"a user that becomes a number":    filter(named, of(field("user", append(value("u"), 0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f)))),
		"a user that becomes null":        filter(named, of(field("user", value("u"), wireNumber(0, 1)))),
		"a user that becomes a boolean":   filter(named, of(field("user", value("u"), wireNumber(0, 4)))),
		"a user that becomes a list":      filter(named, of(field("user", value("u"), wireField(nil, 6)))),
		"a list that becomes a user":      filter(named, of(field("user", wireField(nil, 6), value("u")))),
		"a user that stays":               filter(named, of(field("user", value("u"), nil))),
		"a user without a value":          filter(named, of(field("user", value("u")), field("user"))),
		"a summary":                       filter(named, of(field("summary", value("decision=allow user=a=b x=y route")))),
		"a summary with a user twice":     filter(named, of(field("summary", value("user=u user=v  user")))),
		"a summary before a user":         filter(named, of(field("summary", value("user=u")), field("user", value("v")))),
		"a summary after a user":          filter(named, of(field("route", value("r")), field("user", value("v")), field("summary", value("user=u")))),
		"a summary that becomes a number": filter(named, of(field("summary", value("user=u"), wireNumber(0, 1)))),
		"a summary of another filter":     filter(text("x", entryKey), of(field("summary", value("user=u")))),
		"a list that cannot be read":      filter(named, of(field("user", wireField([]byte{0x0a}, 6)))),
	}
}

// TestAccessEntry tests that entries are read as the generated decoder reads them. Each is read
// after an entry that has everything.
func TestAccessEntry(t *testing.T) {
	t.Parallel()
	w := newLineWriter(newTestAccessLog(t, io.Discard))
	odd := marshaled(t, oddEntry(t))
	all := oddEntries(t)
	all["usual"], all["odd"] = marshaled(t, usualEntry(t)), odd
	for name, text := range all {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // they share the writer
			if !compareEntry(t, w, odd) {
				t.Fatal("the odd entry is refused")
			}
			compareEntry(t, w, text)
		})
	}
}

// TestAccessEntryFlags tests all flags, one at a time and all at once.
func TestAccessEntryFlags(t *testing.T) {
	t.Parallel()
	w := newLineWriter(newTestAccessLog(t, io.Discard))
	fields := (*logdatav3.ResponseFlags)(nil).ProtoReflect().Descriptor().Fields()
	var all []byte
	for i := range fields.Len() {
		flag := wireNumber(1, fields.Get(i).Number())
		if fields.Get(i).Message() != nil {
			flag = wireField(nil, fields.Get(i).Number())
		}
		compareEntry(t, w, wireField(flag, entryCommon, commonFlags))
		all = append(all, flag...)
		if num := fields.Get(i).Number(); num >= 64 {
			t.Errorf("field %d does not fit", num)
		}
	}
	compareEntry(t, w, wireField(all, entryCommon, commonFlags))
}

// TestAccessEntryDepth tests that the depth of an entry is limited as in the generated decoder.
func TestAccessEntryDepth(t *testing.T) {
	t.Parallel()
	w := newLineWriter(newTestAccessLog(t, io.Discard))
	for _, levels := range []int{10, 3320, 3330, 3331, 3332, 3333, 3340, 5000} {
		var deep []byte
		for range levels {
			deep = wireField(deep, 5, structFields, entryValue) // Value.struct_value, Struct.fields, its value
		}
		compareEntry(t, w, wireField(deep, entryCommon, commonMetadata, metadataFilters, entryValue, structFields, entryValue))
	}
}

// TestMessageKinds tests that no message that is decoded has a kind of field for which a
// [decoder] does not know what the generated one refuses.
func TestMessageKinds(t *testing.T) {
	t.Parallel()
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			switch {
			case f.Message() != nil:
				walk(f.Message())
			case f.IsPacked():
				t.Errorf("%s is packed", f.FullName())
			case shapeOf(m, map[protoreflect.FullName]*shape{}).field(f.Number()).kind == kindOther:
				t.Errorf("%s is a %s", f.FullName(), f.Kind())
			}
		}
	}
	walk((*authv3.CheckRequest)(nil).ProtoReflect().Descriptor())
	walk((*logdatav3.HTTPAccessLogEntry)(nil).ProtoReflect().Descriptor())
}

// randomMessage returns a message in wire form with random fields, of which some are not of the
// message, some have a wrong wire type, and some occur more than once.
func randomMessage(random *rand.Rand, of protoreflect.MessageDescriptor, depth int) (b []byte) {
	texts := []string{"", "a", "user", "reason", metadataNamespace, routeExtension, "é\u2028", "\"\\\n", "/x?token=canary", "192.0.2.1"}
	numbers := []uint64{0, 1, 2, 3, 200, math.MaxInt32 + 1, 1 << 40, math.MaxUint64}
	for range random.IntN(5) {
		num, kind := protowire.Number(1+random.IntN(40)), protoreflect.StringKind
		var message protoreflect.MessageDescriptor
		if random.IntN(10) > 0 {
			f := of.Fields().Get(random.IntN(of.Fields().Len()))
			num, kind, message = f.Number(), f.Kind(), f.Message()
		}
		if random.IntN(20) == 0 {
			kind = []protoreflect.Kind{protoreflect.BoolKind, protoreflect.DoubleKind, protoreflect.FloatKind, protoreflect.StringKind}[random.IntN(4)]
		}
		switch {
		case message != nil && depth > 0:
			b = append(b, wireField(randomMessage(random, message, depth-1), num)...)
		case kind == protoreflect.StringKind, kind == protoreflect.BytesKind, kind == protoreflect.MessageKind:
			text := texts[random.IntN(len(texts))]
			if random.IntN(200) == 0 {
				text = "\xff"
			}
			b = append(b, wireField([]byte(text), num)...)
		case kind == protoreflect.DoubleKind:
			b = protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), random.Uint64())
		case kind == protoreflect.FloatKind:
			b = protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), random.Uint32())
		default:
			b = append(b, wireNumber(numbers[random.IntN(len(numbers))], num)...)
		}
	}
	if len(b) > 0 && random.IntN(200) == 0 {
		b = b[:random.IntN(len(b))]
	}
	return b
}

// TestRandomMessages compares what is read from many random messages with what the generated
// decoder reads.
func TestRandomMessages(t *testing.T) {
	t.Parallel()
	w := newLineWriter(newTestAccessLog(t, io.Discard))
	random := rand.New(rand.NewPCG(1, 2))
	valid := 0
	const n = 10_000
	for range n {
		var entry, request []byte
		for range 1 + random.IntN(4) {
			entry = append(entry, randomMessage(random, (*logdatav3.HTTPAccessLogEntry)(nil).ProtoReflect().Descriptor(), 6)...)
			request = append(request, randomMessage(random, (*authv3.CheckRequest)(nil).ProtoReflect().Descriptor(), 6)...)
		}
		if compareEntry(t, w, entry) {
			valid++
		}
		compareRequest(t, request)
	}
	if valid < n/3 || valid > n*9/10 {
		t.Errorf("%d of %d entries are valid; more of the others are wanted", valid, n)
	}
}

// FuzzAccessEntry tests that any bytes are read as the generated decoder reads them.
func FuzzAccessEntry(f *testing.F) {
	for _, text := range oddEntries(f) {
		f.Add(text)
	}
	f.Add(marshaled(f, usualEntry(f)))
	f.Add(marshaled(f, oddEntry(f)))
	w := newLineWriter(newTestAccessLog(f, io.Discard))
	f.Fuzz(func(t *testing.T, text []byte) { compareEntry(t, w, text) })
}

// TestAccessEntryAllocations bounds the allocations of an entry, from its bytes to its line.
func TestAccessEntryAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	const budget = 10
	w := newLineWriter(newTestAccessLog(t, io.Discard))
	text := marshaled(t, usualEntry(t))
	got := testing.AllocsPerRun(200, func() {
		if !w.entry.decode(text) || w.write() != nil {
			t.Fatal("an entry is not written")
		}
	})
	if got > budget {
		t.Errorf("%v allocations, at most %d wanted", got, budget)
	} else {
		t.Logf("%v allocations", got)
	}
}

// TestAccessEntryKeepsNoLargeTable tests that the maps of an unusual entry are not kept.
func TestAccessEntryKeepsNoLargeTable(t *testing.T) {
	t.Parallel()
	w := newLineWriter(newTestAccessLog(t, io.Discard))
	e := usualEntry(t)
	for i := range 10_000 {
		e.Request.RequestHeaders[fmt.Sprint(i)] = ""
	}
	compareEntry(t, w, marshaled(t, e))
	before := fmt.Sprintf("%p", w.entry.requestHeaders)
	compareEntry(t, w, marshaled(t, usualEntry(t)))
	if fmt.Sprintf("%p", w.entry.requestHeaders) == before || cap(w.names) > maxTableKept {
		t.Error("a large table is kept")
	}
}

// BenchmarkAccessEntry measures an entry from its bytes to its masked line, as it is read and as
// the generated decoder would read it.
func BenchmarkAccessEntry(b *testing.B) {
	w := newLineWriter(newTestAccessLog(b, io.Discard))
	text := marshaled(b, usualEntry(b))
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !w.entry.decode(text) || w.write() != nil {
				b.Fatal("an entry is not written")
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			line, err := generatedLine(w.to.mask, text)
			if err != nil {
				b.Fatal(err)
			}
			w.masked = w.to.mask.Append(w.masked[:0], line)
		}
	})
}
