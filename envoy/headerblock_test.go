package envoy

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// FuzzHeaderBlock tests that, however a peer encodes and splits its header fields, they are
// read as by a decoder that keeps all of them.
func FuzzHeaderBlock(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5}, uint16(1))
	f.Add([]byte{0, 0x86, 0, 0x47, 0, 0xc8, 0xff, 0, 1, 2}, uint16(100))
	f.Add([]byte{7, 7, 0xff, 15, 0xff, 7, 23, 0xfe, 0, 0x20, 0}, uint16(16384))
	f.Add([]byte{15, 23, 31, 0xfd, 15, 0xff, 15, 23, 31}, uint16(9))
	f.Fuzz(func(t *testing.T, script []byte, cut uint16) {
		if len(script) > 64 {
			return
		}
		var text bytes.Buffer
		encoder := hpack.NewEncoder(&text)
		ours := newHeaderBlock()
		var theirs callFields
		reference := newHeaderBlock() // for what it keeps
		decoder := hpack.NewDecoder(headerTableBytes, func(f hpack.HeaderField) {
			reference.keep(f)
			theirs = reference.kept
		})
		block := func() {
			encoded := text.Bytes()
			ours.begin(1, false)
			reference.kept, theirs = callFields{}, callFields{}
			_, errTheirs := decoder.Write(encoded)
			if err := decoder.Close(); errTheirs == nil {
				errTheirs = err
			}
			var errOurs error
			for rest := encoded; errOurs == nil; {
				n := min(int(cut)+1, len(rest))
				errOurs = ours.write(rest[:n], n == len(rest))
				if rest = rest[n:]; len(rest) == 0 {
					break
				}
			}
			if err := ours.end(); errOurs == nil {
				errOurs = err
			}
			if errTheirs != nil || errOurs != nil || ours.kept != theirs {
				t.Fatalf("%v %+v, want %v %+v", errOurs, ours.kept, errTheirs, theirs)
			}
			if cap(ours.text) > wholeBlock {
				t.Fatalf("%d bytes are kept after a block", cap(ours.text))
			}
			text.Reset()
		}
		names := []string{":path", ":method", ":authority", "content-type", "grpc-timeout", "traceparent", "baggage", "x"}
		for _, op := range script {
			switch {
			case op >= 0xfc:
				block()
				encoder.SetMaxDynamicTableSize(uint32(0xff-op) * 1300)
			default:
				size := []int{0, 3, 40, 600, 5000, maxLiteral * 8 / 5, maxLiteral + 1, 100_000}[op>>3&7]
				value := strings.Repeat(string('a'+rune(op%26)), size)
				if op&0x40 != 0 {
					value = strings.Repeat("\x01", size) // is not encoded with fewer bits
				}
				_ = encoder.WriteField(hpack.HeaderField{Name: names[op&7], Value: value, Sensitive: op&0x80 != 0})
			}
			if len(ours.text) > 3*maxLiteral {
				t.Fatalf("%d bytes are kept of a field", len(ours.text))
			}
		}
		block()
	})
}

// FuzzHeaderBlockBytes tests that any bytes are read, or refused, as by a decoder that keeps
// all fields.
func FuzzHeaderBlockBytes(f *testing.F) {
	for _, text := range []string{
		"\x82\x84\x86", "\x40\x01x\x01y\xbe", "\x00\x05:path\x02/x", "\x20\x82", "\x3f\xe1\x1f\x82", "\x44\x02/x", "\x7f\x00\x00", "\xff\x00", "\xff\xff\xff\xff\xff\x0f",
		"\x44\x82\x60\x75", "\x44\x82\xff\xff", "\x44\x7f\x80\x00/", "\x44\x7f\xff\xff\xff\xff\xff\xff", "\x10\x01a", "\x0f\x80\x80\x00\x01a", "\x82\x20", "\x40",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > wholeBlock {
			return
		}
		cut, whole := newHeaderBlock(), newHeaderBlock()
		cut.begin(1, false)
		whole.begin(1, false)
		errWhole := whole.write(text, true)
		if err := whole.end(); errWhole == nil {
			errWhole = err
		}
		var errCut error
		for i := range text {
			if errCut = cut.write(text[i:i+1], false); errCut != nil {
				break
			}
		}
		if err := cut.end(); errCut == nil {
			errCut = err
		}
		if (errWhole == nil) != (errCut == nil) || errWhole == nil && whole.kept != cut.kept {
			t.Fatalf("%q: whole %v %+v, in pieces %v %+v", text, errWhole, whole.kept, errCut, cut.kept)
		}
	})
}

// TestHeaderBlockEnds tests that a block that never ends is refused.
func TestHeaderBlockEnds(t *testing.T) {
	t.Parallel()
	b := newHeaderBlock()
	b.begin(1, false)
	piece := bytes.Repeat([]byte{0x82}, maxFrame)
	pieces := 0
	for ; b.write(piece, false) == nil; pieces++ {
		if pieces > maxBlock/maxFrame {
			t.Fatal("a block has no bound")
		}
	}
	if pieces < (9<<20)/maxFrame {
		t.Errorf("a block of %d bytes is refused", pieces*maxFrame)
	}
}
