package envoy

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Limits for one message of the access log. With the shipped configurations, Envoy sends 16 KiB
// plus one entry, and an entry contains the headers of a request at most twice.
const (
	maxAccessMessage = 1 << 20
	maxAccessEntry   = 256 << 10
	maxAccessEntries = 4096
	// accessWriters is the number of streams that may decode and mask at a time.
	accessWriters = 4
)

// Numbers of the fields that are read, grouped by message type.
const (
	streamHTTPLogs protowire.Number = 2 // StreamAccessLogsMessage
	httpLogsEntry  protowire.Number = 1 // HTTPAccessLogEntries
)

// An accessBatch is an envoy.service.accesslog.v3.StreamAccessLogsMessage with its HTTP entries
// in wire form. They are decoded one at a time, because small entries decoded together would
// need many times the memory of the message.
type accessBatch struct {
	entries [][]byte
	skipped int    // entries over the limits, plus 1 if the message is too large or malformed
	release func() // releases the memory of the message; nil if none is held
}

// done releases the memory that the message holds.
func (b *accessBatch) done() {
	if b.release != nil {
		b.release()
	}
}

// scan collects the entries within the limits and counts the others.
func (b *accessBatch) scan(message []byte) {
	whole := eachField(message, streamHTTPLogs, func(entries []byte) bool {
		return eachField(entries, httpLogsEntry, func(entry []byte) bool {
			if len(b.entries) >= maxAccessEntries || len(entry) > maxAccessEntry {
				b.skipped++
			} else {
				b.entries = append(b.entries, entry)
			}
			return true
		})
	})
	if !whole {
		b.skipped++
	}
}

// eachField calls found with the value of each length-delimited field that has the given
// number. It reports whether the message could be read to its end.
func eachField(message []byte, number protowire.Number, found func([]byte) bool) bool {
	for len(message) > 0 {
		num, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		if num == number && kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 || !found(value) {
				return false
			}
			message = message[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, kind, message); n < 0 {
			return false
		}
		message = message[n:]
	}
	return true
}
