package jwks

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"warder/authz/token"
)

// DefaultMaxAge is how long keys are used when they cannot be read again.
const DefaultMaxAge = 24 * time.Hour

// Limits of Config.MaxAge.
const (
	minMaxAge = time.Second
	maxMaxAge = 7 * 24 * time.Hour
)

// Config configures a [Source].
type Config struct {
	// Issuer is the iss of the tokens. If URL is empty, it is where discovery begins.
	Issuer string
	// URL is where the key set is. It is https, or http on a loopback address.
	URL string
	// CAFile has the authorities that are trusted instead of those of the system, in PEM. It is
	// read for each fetch.
	CAFile string
	// MaxAge is how long keys are used when they cannot be read again. 0 means DefaultMaxAge.
	MaxAge time.Duration
	// Algorithms are those that the keys may be for; empty means all with a public key.
	Algorithms []string
	// Log says when the keys change, and when they cannot be read. It may be nil.
	Log *slog.Logger
	// Use gets the keys when they have changed, and nil when they are no longer known. Calls do
	// not overlap. It may be nil.
	Use func(keys []token.Key)
}

// Validate returns every problem, each a [*token.ConfigError].
func (c Config) Validate() (problems []error) {
	report := func(field, format string, args ...any) {
		problems = append(problems, token.Misconfigured(field, format, args...))
	}
	if c.URL == "" {
		if err := checkURL(c.Issuer); err != nil {
			report("issuer", "%q %v, for discovery", c.Issuer, err)
		}
	} else if err := checkURL(c.URL); err != nil {
		report("jwks_url", "%v", err)
	}
	if c.MaxAge != 0 && (c.MaxAge < minMaxAge || c.MaxAge > maxMaxAge) {
		report("max_age", "is %v; use %v to 168h", c.MaxAge, minMaxAge)
	}
	for i, name := range c.Algorithms {
		if !slices.Contains(token.PublicAlgorithms(), name) {
			report(fmt.Sprintf("algorithms[%d]", i), "%q is no algorithm with a public key; use %s", name, strings.Join(token.PublicAlgorithms(), ", "))
		}
	}
	if c.CAFile != "" {
		if _, err := authorities(c.CAFile); err != nil {
			report("ca_file", "%v", err)
		}
	}
	return problems
}

// checkURL returns an error unless the answer of a URL can be trusted. The error does not
// contain the URL, which may have a secret in it.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("is not a URL; write one such as https://id.example.com/keys")
	case u.User != nil:
		return fmt.Errorf("contains a user name, which would be sent with each request; leave it out")
	case u.Fragment != "":
		return fmt.Errorf("contains a #, which no server sees; leave it out")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("is not encrypted, so that anybody on the way could put keys of their own there; use https (with ca_file for a private authority)")
	}
	return fmt.Errorf("is no https URL; write one such as https://id.example.com/keys")
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
