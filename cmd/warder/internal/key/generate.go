package key

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"warder/authz"
)

const (
	// publicLength is the length of the public part of a key after its --prefix, in
	// characters of 5 bits.
	publicLength = 8
	// maxPrefix bounds --prefix. A whole key may have 256 characters.
	maxPrefix = 32
)

var prefixText = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]*$`)

// checkPrefix checks the value of --prefix.
func checkPrefix(prefix string) error {
	if len(prefix) > maxPrefix || !prefixText.MatchString(prefix) {
		return fmt.Errorf("--prefix: %q cannot be the beginning of a key; use at most %d of A-Z a-z 0-9 . _ ~ + / = -", prefix, maxPrefix)
	}
	return nil
}

// generate returns a new key and its public prefix, which is unique in practice. The rest of
// the key has at least 128 random bits.
func generate(prefix string) (key, public string) {
	public = prefix + rand.Text()[:publicLength]
	return public + "_" + rand.Text(), public
}

// maxScopes is more than any key needs.
const maxScopes = 256

// checkScopes checks the values of --scope.
func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return fmt.Errorf("%d scopes; use at most %d", len(scopes), maxScopes)
	}
	for _, scope := range scopes {
		if !authz.ValidName(scope) {
			return fmt.Errorf("--scope: %q is not a valid scope; write one without commas, control characters and space at its ends, and repeat --scope for another", scope)
		}
	}
	return nil
}

const (
	never = "never"
	day   = 24 * time.Hour
	// maxLife and maxOverlap only catch mistakes.
	maxLife    = 3660 * day
	maxOverlap = 90 * day
	leastLife  = time.Minute
)

var lifeText = regexp.MustCompile(`^([0-9]{1,9})(m|h|d|w)$`)

// readLife reads a span of time such as 90d.
func readLife(text string) (time.Duration, error) {
	parts := lifeText.FindStringSubmatch(text)
	if parts == nil {
		return 0, errors.New("write a number and m, h, d or w, such as 90d")
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0, err
	}
	unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day}[parts[2]]
	if n > int64(maxLife/unit) {
		return maxLife + day, nil // the product may overflow
	}
	return time.Duration(n) * unit, nil
}

// readExpiry reads the value of --expires. The zero Time means never.
func readExpiry(text string, now time.Time) (time.Time, error) {
	if text == never {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		life, lifeErr := readLife(text)
		if lifeErr != nil {
			return time.Time{}, fmt.Errorf("--expires: %q is not a time; write a span such as 90d (m, h, d or w), a time such as 2027-01-31T00:00:00Z, or never", text)
		}
		at = now.Add(life)
	}
	at = at.UTC().Truncate(time.Second)
	switch left := at.Sub(now); {
	case left < leastLife-time.Second:
		return time.Time{}, fmt.Errorf("--expires: %s is over or almost over; use at least a minute from now", text)
	case left > maxLife:
		return time.Time{}, fmt.Errorf("--expires: %s is more than ten years from now; use less, or never", text)
	}
	return at, nil
}

// readOverlap reads the value of --overlap.
func readOverlap(text string) (time.Duration, error) {
	overlap, err := readLife(text)
	if err != nil || overlap > maxOverlap {
		return 0, fmt.Errorf("--overlap: %q is not a span of time from 0m to 90d; write one such as 7d (m, h, d or w)", strings.TrimSpace(text))
	}
	return overlap, nil
}
