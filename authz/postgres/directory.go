package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"warder/authz"
)

// A Directory implements [authz.Users] and [authz.APIKeys] on Postgres. It is
// safe for concurrent use.
type Directory struct {
	pool      *pgxpool.Pool
	access    access
	timeout   time.Duration
	users     statement
	apiKeys   statement
	noAPIKeys bool
	noUsers   bool
	warnings  limitedLog
	server    serverCheck
	standbys  standbyLog
	line      line

	attributes atomic.Pointer[AttributeColumns] // as of the last good Check

	// The shares of the pool for users and keys that were not found recently.
	strangers    *share[string]
	strangerKeys *share[authz.KeyHash]
}

// User implements [authz.Users]. It returns [authz.ErrNotFound] or an error that wraps
// [authz.ErrOverloaded]. Any other error means that the directory could not answer.
func (d *Directory) User(ctx context.Context, id string) (authz.User, error) {
	if d.noUsers || !authz.ValidID(id) {
		return authz.User{}, authz.ErrNotFound
	}
	var user authz.User
	err := ask(ctx, d, d.strangers, id, &d.users, question{
		value:   id,
		spelled: func(oid uint32) (bool, error) { return spelledAs(oid, id) },
		read: func(row columns) error {
			if _, given := row.find("id"); given {
				// The query's comparison may be less strict than that of ids, for
				// example because of a collation.
				found, err := row.id("id")
				if err != nil {
					return err
				}
				if found != id {
					return authz.ErrNotFound
				}
			}
			var err error
			if user.Active, err = row.flag("is_active"); err != nil {
				return err
			}
			var faults nameFaults
			if user.Roles, faults, err = row.names("roles"); err != nil {
				return err
			}
			d.warnAbout(ctx, "roles", faults, slog.String("user", id))
			var unusable []string
			user.Attributes, unusable = row.attributes(userColumns)
			d.warnAboutAttributes(ctx, unusable, slog.String("user", id))
			return nil
		},
	})
	if err != nil {
		return authz.User{}, d.failed(ctx, &d.users, err, slog.String("user", id))
	}
	return user, nil
}

// APIKey implements [authz.APIKeys]. It returns the same errors as [Directory.User].
func (d *Directory) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	if d.noAPIKeys {
		return authz.APIKey{}, authz.ErrNotFound
	}
	var key authz.APIKey
	err := ask(ctx, d, d.strangerKeys, hash, &d.apiKeys, question{
		value:   hash.Hex(),
		spelled: isText,
		read: func(row columns) error {
			var err error
			if key.Prefix, err = row.text("prefix"); err != nil {
				return err
			}
			if key.Active, err = row.flag("is_active"); err != nil {
				return err
			}
			if key.ExpiresAt, err = row.end("expires_at"); err != nil {
				return err
			}
			if key.OwnerID, err = row.id("user_id"); err != nil {
				return err
			}
			var faults nameFaults
			if key.Scopes, faults, err = row.names("scopes"); err != nil {
				return err
			}
			d.warnAbout(ctx, "scopes", faults, slog.String("key_prefix", key.Prefix))
			var unusable []string
			key.Attributes, unusable = row.attributes(apiKeyColumns)
			d.warnAboutAttributes(ctx, unusable, slog.String("key_prefix", key.Prefix))
			return nil
		},
	})
	if err != nil {
		return authz.APIKey{}, d.failed(ctx, &d.apiKeys, err)
	}
	return key, nil
}

// Renew closes the connections, those in use after their questions. After an outage they may be
// dead without an end, and each would cost a question its whole time.
func (d *Directory) Renew() { d.pool.Reset() }

// Close closes the connections. Later questions return an error.
func (d *Directory) Close() { d.pool.Close() }

// failed converts the error of a question into one for the caller. It also logs a warning
// if the cause is in the data, because the decision's reason does not show that.
func (d *Directory) failed(ctx context.Context, s *statement, err error, about ...slog.Attr) error {
	switch {
	case errors.Is(err, authz.ErrNotFound):
		return authz.ErrNotFound
	case errors.Is(err, authz.ErrOverloaded):
		return err
	case errors.Is(err, errManyRows):
		d.warnings.warn(ctx, s.field+" returned more than one row, so the answer is ambiguous; make it return one", about...)
		return fmt.Errorf("%s: %w", s.field, err)
	case s == &d.users && classOf(err) == "22":
		// Data exception: the query could not convert the id, for example in a cast. It
		// must not count as an outage, which anybody with a token could cause.
		d.warnings.warn(ctx, s.field+" could not convert a value; the user counts as unknown",
			append(about, slog.String("sqlstate", codeOf(err)))...)
		return authz.ErrNotFound
	}
	return explain(s.field, err)
}

func (d *Directory) warnAbout(ctx context.Context, column string, faults nameFaults, about ...slog.Attr) {
	switch {
	case faults.shape:
		d.warnings.warn(ctx, "the column "+column+" is not an array of strings; it counts as empty", about...)
	case faults.dropped > 0:
		about = append(about, slog.Int("dropped", faults.dropped))
		d.warnings.warn(ctx, "the column "+column+" has invalid names (empty, or with a comma, a control character or a leading or trailing space); they are dropped", about...)
	}
}
