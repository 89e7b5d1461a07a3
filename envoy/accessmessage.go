package envoy

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of one message of the access log. Envoy as configured here sends 16 KiB and
// one entry more, and an entry holds the headers of a request twice at most.
const (
	maxAccessMessage = 1 << 20
	maxAccessEntry   = 256 << 10
	maxAccessEntries = 4096
	// accessWriters is how many streams decode and mask at a time.
	accessWriters = 4
)

// The numbers of the fields that are read, by the message that holds them.
const (
	streamHTTPLogs protowire.Number = 2 // StreamAccessLogsMessage
	httpLogsEntry  protowire.Number = 1 // HTTPAccessLogEntries
)

// An accessBatch is an envoy.service.accesslog.v3.StreamAccessLogsMessage with its
// HTTP entries in their wire form: decoded together, small entries would take many times
// the room of the message.
type accessBatch struct {
	entries [][]byte
	skipped int    // entries beyond the bounds; 1 for a message that is too large or ends in what cannot be read
	release func() // gives back the memory of the message; nil: nothing is held
}

// done gives back what the message holds of the memory for peers.
func (b *accessBatch) done() {
	if b.release != nil {
		b.release()
	}
}

// scan takes the entries within the bounds and counts the others.
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

// eachField calls found with each field of the number that holds bytes, and reports
// whether the message could be read to its end.
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
