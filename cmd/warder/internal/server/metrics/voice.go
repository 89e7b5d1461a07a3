package metrics

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// voiceTime is how often a store that comes and goes is spoken of.
const voiceTime = 10 * time.Second

// A storeVoice says when a store stops answering and when it answers again, once each:
// the decisions of the time between have only their reason. It takes the errors of stores,
// which are made for a log.
type storeVoice struct {
	store string
	log   *slog.Logger // nil: nobody listens
	now   func() time.Time

	away atomic.Bool
	said atomic.Bool  // that it is away
	last atomic.Int64 // when that was said last
}

// heard notes the result of a question.
func (v *storeVoice) heard(result int, err error) {
	switch {
	case v.log == nil:
	case result == storeUnavailable:
		if v.away.Swap(true) {
			return
		}
		now := v.now().UnixNano()
		if last := v.last.Load(); last == 0 || now-last >= int64(voiceTime) {
			v.last.Store(now)
			v.said.Store(true)
			v.log.Error("a store does not answer, requests that need it get a 503", "store", v.store, "error", err)
		}
	case result == storeOK || result == storeNotFound:
		if v.away.Load() && v.away.Swap(false) && v.said.Swap(false) {
			v.log.Info("a store answers again", "store", v.store)
		}
	}
}
