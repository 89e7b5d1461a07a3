package jwks

import "net/http"

// SetTransport makes the source fetch by a transport of a test.
func (s *Source) SetTransport(t http.RoundTripper) { s.transport = t }

// The limits that tests refer to.
const (
	AskEvery       = askEvery
	DefaultRefresh = defaultRefresh
	MinRefresh     = minRefresh
	MaxRefresh     = maxRefresh
	MaxBody        = maxBody
	MaxWaiting     = maxWaiting
	FetchTimeout   = fetchTimeout
)
