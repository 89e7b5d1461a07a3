package server

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/config"
	"warder/envoy"
)

// Limits, in bytes, of texts that a client chooses.
const (
	maxLoggedPath = 512
	maxLoggedWord = 128
)

// A decisionLog writes one JSON line for each decision, or for each denial. Texts from the
// client are truncated, and masked where they may contain a secret. A line is built after
// the response; a check only copies what the line needs.
type decisionLog struct {
	onlyDeny bool
	sources  *authz.SourceReader
	mask     *mask.Masker
	lines    *linePart
}

// newDecisionLog returns nil if no decisions are logged.
func newDecisionLog(lines *linePart, which config.Decisions, sources *authz.SourceReader, m *mask.Masker) *decisionLog {
	if which == config.LogNone {
		return nil
	}
	return &decisionLog{onlyDeny: which == config.LogDeny, sources: sources, mask: m, lines: lines}
}

// Observed implements envoy.Observer.
func (l *decisionLog) Observed(_ context.Context, o envoy.Observation) {
	if l.onlyDeny && o.Decision.Allowed() {
		return
	}
	l.write(o)
}

// Differs logs that the next policy decides a request differently.
func (l *decisionLog) Differs(_ context.Context, o envoy.Observation, next authz.Decision) {
	l.write(o,
		slog.String("next_decision", next.Verdict()),
		slog.String("next_reason", next.Reason().String()),
		slog.String("next_route", next.Route()),
		slog.String("next_policy", next.PolicyHash()))
}

// write queues a line about a decision.
func (l *decisionLog) write(o envoy.Observation, more ...slog.Attr) {
	r := l.record(o)
	l.lines.later(r.size(), func() []byte {
		var line bytes.Buffer
		record := slog.NewRecord(r.at, slog.LevelInfo, "", 0)
		record.AddAttrs(append(l.about(r), more...)...)
		if err := mask.NewHandler(lineHandler(&line), l.mask).Handle(context.Background(), record); err != nil {
			return nil
		}
		return line.Bytes()
	})
}

// A decisionRecord holds the parts of a decision that a line needs. It does not retain
// memory of the request.
type decisionRecord struct {
	at                               time.Time
	verdict, reason, route, authType string
	policy                           string // hash, shared by all records
	clientIP                         netip.Addr
	duration                         time.Duration
	method, path, id, user, prefix   mask.Excerpt
	detail                           mask.Excerpt
	secrets                          []string
	tooMany                          bool // too many credentials, so texts of the client are not logged
}

func (l *decisionLog) record(o envoy.Observation) *decisionRecord {
	who := o.Decision.Principal()
	r := &decisionRecord{
		at:      time.Now(),
		verdict: o.Decision.Verdict(), reason: o.Decision.Reason().String(), route: o.Decision.Route(), authType: who.Method.String(),
		clientIP: o.Decision.ClientIP(), duration: o.Duration,
		method: mask.NewExcerpt(o.Method).Clone(), path: mask.NewExcerpt(o.Path).Clone(), id: mask.NewExcerpt(o.ID).Clone(),
		user: mask.NewExcerpt(who.UserID).Clone(), prefix: mask.NewExcerpt(who.KeyPrefix).Clone(),
		detail: mask.Excerpt{Text: o.Decision.Detail().Text(), Cut: o.Decision.Detail().Cut()},
	}
	r.policy = o.Decision.PolicyHash()
	r.secrets, r.tooMany = l.credentials(o.Request, r)
	return r
}

// recordSize is the size of a record without its texts, in bytes.
const recordSize = 512

func (r *decisionRecord) size() int {
	n := recordSize
	for _, e := range []mask.Excerpt{r.method, r.path, r.id, r.user, r.prefix, r.detail} {
		n += len(e.Text)
	}
	for _, s := range r.secrets {
		n += len(s)
	}
	return n
}

// canHold reports whether the texts of the client can contain a secret of n bytes. Escaping
// makes a text longer than the secret, never shorter.
func (r *decisionRecord) canHold(n int) bool {
	for _, e := range []mask.Excerpt{r.method, r.path, r.id, r.detail} {
		if e.Cut || len(e.Text) >= n {
			return true
		}
	}
	return false
}

// about returns the attributes of the line about a decision.
func (l *decisionLog) about(r *decisionRecord) []slog.Attr {
	clientIP := ""
	if r.clientIP.IsValid() {
		clientIP = r.clientIP.String()
	}
	attrs := []slog.Attr{
		slog.String("decision", r.verdict),
		slog.String("reason", r.reason),
		slog.String("route", r.route),
		slog.String("method", l.clean(r.method, r, maxLoggedWord)),
		slog.String("path", l.clean(r.path, r, maxLoggedPath)),
		slog.String("client_ip", clientIP),
		slog.String("user", r.user.Shown(l.mask.String(r.user.Text), maxLoggedPath)),
		slog.String("auth_method", r.authType),
		slog.String("key_prefix", r.prefix.Shown(l.mask.String(r.prefix.Text), maxLoggedWord)),
		slog.String("request_id", l.clean(r.id, r, maxLoggedWord)),
		slog.Int64("duration_us", r.duration.Microseconds()),
	}
	if r.detail.Text != "" {
		attrs = append(attrs, slog.String("detail", l.clean(r.detail, r, maxLoggedWord)))
	}
	if r.policy != "" {
		attrs = append(attrs, slog.String("policy", r.policy))
	}
	return attrs
}

// credentials returns the credentials of the request. They are masked in the line because
// a client may also put its key into the path. Credentials that are longer than every text
// of the client are left out.
func (l *decisionLog) credentials(r *authz.Request, about *decisionRecord) (found []string, tooMany bool) {
	for _, value := range l.sources.Credentials(r) {
		if len(value) < minMasked || !about.canHold(len(value)) {
			continue
		}
		if len(found) == maxCredentials {
			return nil, true
		}
		found = append(found, strings.Clone(value[:min(len(value), mask.MaxRead)]))
	}
	return found, false
}

// maxCredentials is the maximum number of credentials of one request that are searched for
// in its texts.
const maxCredentials = 8

// minMasked is the length of the shortest API key. Masking shorter texts would mask parts
// of many ordinary paths.
const minMasked = 8

// clean prepares a text of the client for the log. It masks the credentials of the request
// and all other secrets, and truncates the text to limit.
func (l *decisionLog) clean(e mask.Excerpt, r *decisionRecord, limit int) string {
	if r.tooMany && e.Text != "" {
		return mask.Replacement
	}
	masked := l.without(e, r.secrets)
	if strings.Contains(masked, "%") {
		// The escapes may hide a secret. Such a text is dropped.
		plain := mask.Excerpt{Text: unescape(masked), Cut: e.Cut}
		if l.without(plain, r.secrets) != plain.Text {
			return mask.Replacement
		}
	}
	return e.Shown(masked, limit)
}

func (l *decisionLog) without(e mask.Excerpt, secrets []string) string {
	for _, secret := range secrets {
		e.Text = e.Without(secret)
	}
	return l.mask.String(e.Text)
}

// unescape decodes all valid escapes in s and leaves invalid ones unchanged.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
