package envoy

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
)

const (
	frameHead = 9
	// maxFrame is the maximum frame size of a server that does not set another one (RFC 9113
	// section 6.5.2).
	maxFrame = 16 << 10
)

var errFrame = errors.New("not valid HTTP/2 of a client (RFC 9113)")

func frameLength(head []byte) int { return int(head[0])<<16 | int(head[1])<<8 | int(head[2]) }

// unpadded removes the padding and the priority fields from the payload of a frame.
func unpadded(kind http2.FrameType, flags http2.Flags, payload []byte) ([]byte, bool) {
	padding := 0
	if flags.Has(http2.FlagDataPadded) { // HEADERS uses the same flag
		if len(payload) == 0 {
			return nil, false
		}
		padding, payload = int(payload[0]), payload[1:]
	}
	if kind == http2.FrameHeaders && flags.Has(http2.FlagHeadersPriority) {
		if len(payload) < 5 {
			return nil, false
		}
		payload = payload[5:]
	}
	if padding > len(payload) {
		return nil, false
	}
	return payload[:len(payload)-padding], true
}

func appendHead(to []byte, size int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	to = append(to, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags)) //nolint:gosec // the low 24 bits of the size of a frame
	return binary.BigEndian.AppendUint32(to, id)
}

func appendTicket(to []byte, id uint32, flags http2.Flags, ticket uint64) []byte {
	to = appendHead(to, messagePrefix+ticketBytes, http2.FrameData, flags, id)
	to = append(to, 0, 0, 0, 0, ticketBytes)
	return binary.BigEndian.AppendUint64(to, ticket)
}

func appendWindowUpdate(to []byte, id, more uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(to, 4, http2.FrameWindowUpdate, 0, id), more)
}

func appendReset(to []byte, id uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendHead(to, 4, http2.FrameRSTStream, 0, id), uint32(code))
}

// appendRenumbered appends a frame with its stream ID replaced by id.
func appendRenumbered(to, frame []byte, id uint32) []byte {
	to = append(to, frame...)
	binary.BigEndian.PutUint32(to[len(to)-len(frame)+5:], id)
	return to
}
