package envoy

import (
	"errors"
	"io"
	"log/slog"
	"sync"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"warder/authz/mask"
)

// An AccessLog implements envoy.service.accesslog.v3.AccessLogService. Envoy sends an entry for
// each finished request, and AccessLog writes the entry as one masked line of JSON. Envoy sends
// entries in batches, independently of the requests, and drops entries that it cannot deliver,
// so the access log never delays a request. An AccessLog is safe for concurrent use.
type AccessLog struct {
	accesslogv3.UnimplementedAccessLogServiceServer

	lines    io.Writer
	mask     *mask.Masker
	log      *slog.Logger
	dropped  func(lines int)  // never nil
	writers  chan *lineWriter // the idle writers; there are accessWriters in all
	stopping chan struct{}
	stop     sync.Once
}

// NewAccessLog returns an access log that writes one line for each request. It writes each line
// with a single call of Write, which must not block and must not retain the bytes. Every line
// passes through the masker. Internal errors of warder are logged to log. The function dropped
// is called with the number of entries that are not written. It may be nil and must not block.
func NewAccessLog(lines io.Writer, m *mask.Masker, log *slog.Logger, dropped func(lines int)) *AccessLog {
	if dropped == nil {
		dropped = func(int) {}
	}
	l := &AccessLog{lines: lines, mask: m, log: log, dropped: dropped, writers: make(chan *lineWriter, accessWriters), stopping: make(chan struct{})}
	for range accessWriters {
		l.writers <- newLineWriter(l)
	}
	return l
}

// StreamAccessLogs receives the entries of one Envoy worker until Envoy or warder ends. It
// ignores entries of TCP connections, because warder makes no decisions about them.
func (l *AccessLog) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	ended := make(chan error, 1)
	var busy sync.Mutex // held while a message is being written
	go func() { ended <- l.receive(stream, &busy) }()
	select {
	case err := <-ended:
		return err
	case <-l.stopping:
		// Envoy never ends a stream by itself. When this method returns, the RecvMsg call in
		// receive fails. Locking busy waits until a message that was already received is
		// written.
		busy.Lock()
		defer busy.Unlock()
		return nil
	}
}

func (l *AccessLog) receive(stream accesslogv3.AccessLogService_StreamAccessLogsServer, busy *sync.Mutex) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(stream.Context(), l.log, "access log", fault)
			err = errAccessLog
		}
	}()
	for {
		var batch accessBatch
		err := stream.RecvMsg(&batch)
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		l.writeAll(&batch, busy)
	}
}

// writeAll writes the entries of a message. It decodes them one at a time.
func (l *AccessLog) writeAll(batch *accessBatch, busy *sync.Mutex) {
	busy.Lock()
	w := <-l.writers
	defer func() {
		w.entry.reset() // it keeps the message
		l.writers <- w
		busy.Unlock()
		batch.done()
	}()
	lost := batch.skipped
	for _, entry := range batch.entries {
		if !w.entry.decode(entry) || w.write() != nil {
			lost++
		}
	}
	if lost > 0 {
		l.dropped(lost)
	}
}

var errAccessLog = errors.New("the access log failed")

// end makes the streams return, so that the server can stop.
func (l *AccessLog) end() {
	if l != nil {
		l.stop.Do(func() { close(l.stopping) })
	}
}
