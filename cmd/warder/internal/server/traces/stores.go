package traces

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"warder/authz"
)

// A System is the kind of a store.
type System int

// The kinds of stores.
const (
	InMemory System = iota // or in a file
	Redis
	Postgres
)

// A question starts the spans of the questions to one store.
type question struct {
	tracer trace.Tracer
	name   string
	start  []trace.SpanStartOption
}

func (t *Tracing) question(store string, system System) question {
	about, kind := []attribute.KeyValue{storeKey.String(store)}, trace.SpanKindClient
	switch system {
	case Redis:
		about = append(about, semconv.DBSystemNameRedis)
	case Postgres:
		about = append(about, semconv.DBSystemNamePostgreSQL)
	case InMemory:
		kind = trace.SpanKindInternal
	}
	return question{t.tracer, "warder." + store, []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(about...)}}
}

// begin starts a span within the span of a check. Questions outside a check, or of a check that
// is not recorded, have none, and the span that is returned does nothing.
func (q question) begin(ctx context.Context) (context.Context, trace.Span) {
	if span := trace.SpanFromContext(ctx); !span.IsRecording() {
		return ctx, span
	}
	return q.tracer.Start(ctx, q.name, q.start...) // end ends the span
}

// end ends the span of a question. The text of the error may repeat what was asked, so only its
// kind is recorded.
func (question) end(span trace.Span, found bool, err error) {
	if !span.IsRecording() {
		return
	}
	result, failed := "ok", true
	switch {
	case err == nil && found:
		failed = false
	case err == nil || errors.Is(err, authz.ErrNotFound):
		result, failed = "not_found", false
	case errors.Is(err, authz.ErrOverloaded):
		result = "overloaded"
	case errors.Is(err, context.Canceled):
		result = "cancelled"
	default:
		result = "unavailable"
	}
	span.SetAttributes(resultKey.String(result))
	if failed {
		span.SetAttributes(semconv.ErrorTypeKey.String(result))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// Sessions returns the store with a span for each question.
func (t *Tracing) Sessions(s authz.Sessions, system System) authz.Sessions {
	return tracedSessions{s, t.question("sessions", system)}
}

// Users returns the store with a span for each question.
func (t *Tracing) Users(u authz.Users, system System) authz.Users {
	return tracedUsers{u, t.question("users", system)}
}

// APIKeys returns the store with a span for each question.
func (t *Tracing) APIKeys(k authz.APIKeys, system System) authz.APIKeys {
	return tracedAPIKeys{k, t.question("api_keys", system)}
}

type tracedSessions struct {
	sessions authz.Sessions
	question question
}

// Alive implements [authz.Sessions].
func (s tracedSessions) Alive(ctx context.Context, session authz.Session) (bool, error) {
	ctx, span := s.question.begin(ctx)
	alive, err := s.sessions.Alive(ctx, session)
	s.question.end(span, alive, err)
	return alive, err
}

type tracedUsers struct {
	users    authz.Users
	question question
}

// User implements [authz.Users].
func (u tracedUsers) User(ctx context.Context, id string) (authz.User, error) {
	ctx, span := u.question.begin(ctx)
	user, err := u.users.User(ctx, id)
	u.question.end(span, true, err)
	return user, err
}

type tracedAPIKeys struct {
	keys     authz.APIKeys
	question question
}

// APIKey implements [authz.APIKeys].
func (k tracedAPIKeys) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	ctx, span := k.question.begin(ctx)
	key, err := k.keys.APIKey(ctx, hash)
	k.question.end(span, true, err)
	return key, err
}
