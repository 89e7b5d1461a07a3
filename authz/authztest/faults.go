package authztest

import (
	"context"
	"sync/atomic"

	"warder/authz"
)

// Stores combines the stores of an engine.
type Stores interface {
	authz.Sessions
	authz.Users
	authz.APIKeys
}

// Failing returns Err from every method.
type Failing struct{ Err error }

func (f Failing) Alive(context.Context, authz.Session) (bool, error) { return false, f.Err }

func (f Failing) User(context.Context, string) (authz.User, error) { return authz.User{}, f.Err }

func (f Failing) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) {
	return authz.APIKey{}, f.Err
}

// Lying returns Err from every method, along with a result that would allow the request. A
// caller that uses the result without checking the error fails its test.
type Lying struct{ Err error }

func (l Lying) Alive(context.Context, authz.Session) (bool, error) { return true, l.Err }

func (l Lying) User(context.Context, string) (authz.User, error) {
	return authz.User{Active: true, Roles: authz.Names{"ADMIN"}}, l.Err
}

func (l Lying) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) {
	return authz.APIKey{Active: true, Scopes: authz.Names{"*"}}, l.Err
}

// Hanging blocks in every method until the context ends, and returns the context's error.
type Hanging struct{}

func (Hanging) Alive(ctx context.Context, _ authz.Session) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func (Hanging) User(ctx context.Context, _ string) (authz.User, error) {
	<-ctx.Done()
	return authz.User{}, ctx.Err()
}

func (Hanging) APIKey(ctx context.Context, _ authz.KeyHash) (authz.APIKey, error) {
	<-ctx.Done()
	return authz.APIKey{}, ctx.Err()
}

// Panicking panics with Value in every method.
type Panicking struct{ Value any }

func (p Panicking) Alive(context.Context, authz.Session) (bool, error) { panic(p.Value) }

func (p Panicking) User(context.Context, string) (authz.User, error) { panic(p.Value) }

func (p Panicking) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) { panic(p.Value) }

// Counting counts the calls of its methods and forwards them to Next. It is safe for
// concurrent use.
type Counting struct {
	Next Stores

	Sessions, Users, APIKeys atomic.Int64
}

func (c *Counting) Alive(ctx context.Context, session authz.Session) (bool, error) {
	c.Sessions.Add(1)
	return c.Next.Alive(ctx, session)
}

func (c *Counting) User(ctx context.Context, id string) (authz.User, error) {
	c.Users.Add(1)
	return c.Next.User(ctx, id)
}

func (c *Counting) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	c.APIKeys.Add(1)
	return c.Next.APIKey(ctx, hash)
}

// Total returns the number of all calls.
func (c *Counting) Total() int64 {
	return c.Sessions.Load() + c.Users.Load() + c.APIKeys.Load()
}
