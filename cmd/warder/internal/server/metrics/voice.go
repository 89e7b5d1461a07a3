package metrics

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// voiceTime is the minimum time between two log messages about an unstable store.
const voiceTime = 10 * time.Second

// A storeVoice logs once when a store stops answering and once when it answers again. The
// decisions in between carry only a reason, not the error. The errors of stores are safe
// to log.
type storeVoice struct {
	store string
	log   *slog.Logger // nil means that nothing is logged
	now   func() time.Time

	away atomic.Bool
	said atomic.Bool  // whether the log says that the store is away
	last atomic.Int64 // when that was last logged
}

// heard records the result of a store request.
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
