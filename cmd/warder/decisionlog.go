package main

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"unicode/utf8"

	"warder/authz"
	"warder/authz/mask"
	"warder/envoy"
)

// Bounds of what a client chooses, in bytes.
const (
	maxLoggedPath = 512
	maxLoggedWord = 128
)

// A decisionLog writes one JSON line for each decision, or for each denial. What
// a client sent is cut, and masked where it may be a secret.
type decisionLog struct {
	onlyDeny     bool
	apiKeyHeader string
	mask         *mask.Masker
	lines        *slog.Logger
}

// newDecisionLog returns nil when no decision is to be logged.
func newDecisionLog(lines slog.Handler, which logDecisions, apiKeyHeader string, m *mask.Masker) *decisionLog {
	if which == logNone {
		return nil
	}
	return &decisionLog{
		onlyDeny:     which == logDeny,
		apiKeyHeader: strings.ToLower(apiKeyHeader),
		mask:         m,
		lines:        slog.New(mask.NewHandler(lines, m)),
	}
}

// Observed implements envoy.Observer.
func (l *decisionLog) Observed(ctx context.Context, o envoy.Observation) {
	if l.onlyDeny && o.Decision.Allowed() {
		return
	}
	l.lines.LogAttrs(ctx, slog.LevelInfo, "", l.about(o)...)
}

// Differs notes that the next policy decides a request otherwise.
func (l *decisionLog) Differs(ctx context.Context, o envoy.Observation, next authz.Decision) {
	l.lines.LogAttrs(ctx, slog.LevelInfo, "", append(l.about(o),
		slog.String("next_decision", next.Verdict()),
		slog.String("next_reason", next.Reason().String()),
		slog.String("next_route", next.Route()))...)
}

// about is what a line tells of a decision.
func (l *decisionLog) about(o envoy.Observation) []slog.Attr {
	clientIP := ""
	if ip := o.Decision.ClientIP(); ip.IsValid() {
		clientIP = ip.String()
	}
	who := o.Decision.Principal()
	secrets := l.credentials(o.Request)
	return []slog.Attr{
		slog.String("decision", o.Decision.Verdict()),
		slog.String("reason", o.Decision.Reason().String()),
		slog.String("route", o.Decision.Route()),
		slog.String("method", l.clean(o.Method, secrets, maxLoggedWord)),
		slog.String("path", l.clean(o.Path, secrets, maxLoggedPath)),
		slog.String("client_ip", clientIP),
		slog.String("user", who.UserID),
		slog.String("auth_method", who.Method.String()),
		slog.String("key_prefix", who.KeyPrefix),
		slog.String("request_id", l.clean(o.ID, secrets, maxLoggedWord)),
		slog.Int64("duration_us", o.Duration.Microseconds()),
	}
}

// credentials are what came with the request to prove somebody: a client that
// puts its key into the path too must not have it logged.
func (l *decisionLog) credentials(r *authz.Request) []string {
	var found []string
	for i := range r.Headers {
		h := &r.Headers[i]
		value := h.Value
		switch h.Name {
		case "authorization":
			if _, credentials, ok := strings.Cut(value, " "); ok {
				value = strings.TrimLeft(credentials, " ")
			}
		case l.apiKeyHeader:
		default:
			continue
		}
		if len(value) >= minMasked {
			found = append(found, value)
		}
	}
	return found
}

// minMasked is the length of the shortest API key. Anything shorter would mask
// half of the paths that there are.
const minMasked = 8

// clean makes a text of the client fit to be logged: without the credentials
// that came with the request, without anything else that is a secret, and cut.
func (l *decisionLog) clean(s string, secrets []string, limit int) string {
	s = l.without(s, secrets)
	if strings.Contains(s, "%") {
		// A secret may hide behind escapes. Such a text is not worth keeping.
		if plain := unescape(s); l.without(plain, secrets) != plain {
			return mask.Replacement
		}
	}
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > limit-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…(cut)"
}

func (l *decisionLog) without(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, mask.Replacement)
	}
	return l.mask.String(s)
}

// unescape decodes the escapes that can be decoded and leaves the others.
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
