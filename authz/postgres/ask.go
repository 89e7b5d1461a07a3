package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"warder/authz"
)

// A statement is one of the two configured queries.
type statement struct {
	field string // its key in the configuration, for messages
	name  string // of the prepared statement; "" if statements must not be prepared
	sql   string
}

// A question is one use of a statement.
type question struct {
	value string
	// spelled reports whether value is the canonical spelling of a value of the
	// parameter's type. It returns an error for a type that warder does not know.
	spelled func(oid uint32) (bool, error)
	// read reads the answer from the only row.
	read func(columns) error
}

var errManyRows = errors.New("returned more than one row")

// binary requests all columns in binary format, which does not depend on the server's
// settings.
var binary = []int16{pgtype.BinaryFormatCode}

// adminShutdown is the SQLSTATE of a session that an administrator has ended.
const adminShutdown = "57P01"

// attempts is the number of stale connections after which a question fails.
const attempts = 3

// ask asks about key. A key that was found recently is asked about at once. Other keys
// share a limited part of the pool: see share.
func ask[K comparable](ctx context.Context, d *Directory, strangers *share[K], key K, s *statement, q question) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	leave, err := strangers.enter(ctx, key)
	if err != nil {
		return err
	}
	defer leave()
	at, err := d.line.enter(ctx)
	if err != nil {
		return err
	}
	defer d.line.leave()
	err = d.persist(ctx, at, s, q)
	if absent := errors.Is(err, authz.ErrNotFound); absent || err == nil {
		strangers.learn(key, !absent)
	}
	return err
}

// persist asks again as long as the error is that of a stale connection, one from before
// a restart or a change of the tables, and not of the database.
func (d *Directory) persist(ctx context.Context, at place, s *statement, q question) error {
	for attempt := 1; ; attempt++ {
		stale, err := d.try(ctx, at, s, q)
		if err == nil || !stale {
			return err
		}
		// The idle connections are stale for the same reason.
		d.pool.Reset()
		if attempt == attempts || ctx.Err() != nil {
			return err
		}
	}
}

// try asks on one connection, for which the question may have waited. stale reports whether
// another connection may succeed.
func (d *Directory) try(ctx context.Context, at place, s *statement, q question) (stale bool, err error) {
	pooled, err := d.acquire(ctx)
	if err != nil {
		err = contextFirst(ctx, err)
		if d.line.tooLate(at, err) {
			return false, errLine
		}
		if isStandby(err) {
			d.standbys.saw(ctx, err)
		}
		return codeOf(err) == adminShutdown, err // the session was ended before it was of use
	}
	defer pooled.Release()
	if at.waits && !d.line.took.InTime(0, left(ctx)) {
		return false, errLine
	}
	defer d.line.answered(ctx, time.Now()) //nolint:forbidigo // durations are in real time
	conn := pooled.Conn().PgConn()

	description, fresh, err := s.prepared(ctx, conn)
	if err != nil {
		return isStale(err, fresh), contextFirst(ctx, err)
	}
	if len(description.ParamOIDs) != 1 {
		return false, unfit(parameterCount(len(description.ParamOIDs)))
	}
	spelled, err := q.spelled(description.ParamOIDs[0])
	if err != nil {
		return false, err
	}
	if !spelled {
		return false, authz.ErrNotFound
	}

	rows, readErr := 0, error(nil)
	request := request{name: s.name, sql: s.sql, value: [][]byte{[]byte(q.value)}, oids: description.ParamOIDs, formats: binary}
	err = d.server.ask(ctx, conn, request, func(result *pgconn.ResultReader) error {
		for result.NextRow() {
			if rows++; rows == 1 {
				readErr = q.read(columns{pooled.Conn().TypeMap(), result.FieldDescriptions(), result.Values()})
			}
		}
		_, err := result.Close()
		return err
	})
	if standby := isStandby(err); standby || err == nil {
		d.standbys.saw(ctx, err)
		if standby && d.outlived(conn) {
			_ = pooled.Conn().Close(ctx) // so that Release does not keep it
		}
	}
	if err != nil {
		stale := isStale(err, fresh)
		if stale && !conn.IsClosed() {
			_ = pooled.Conn().Close(ctx) // as above
		}
		return stale, contextFirst(ctx, err)
	}
	switch {
	case rows == 0:
		return false, authz.ErrNotFound
	case rows > 1:
		return false, errManyRows
	}
	return false, readErr
}

// prepared returns the description of the statement. On the first use of a connection it
// prepares the statement and serverQuery, or only describes the statement if statements must
// not be prepared. fresh reports whether it asked the server.
//
// What a connection has is stored with the connection as soon as it has it, so that the two
// always match: the context may end between two steps and leave a connection that is still
// good.
func (s *statement) prepared(ctx context.Context, conn *pgconn.PgConn) (description *pgconn.StatementDescription, fresh bool, err error) {
	has := conn.CustomData()
	known := "warder statement " + s.field
	description, found := has[known].(*pgconn.StatementDescription)
	if !found {
		if s.name == "" {
			description, err = describe(ctx, conn, s.sql)
		} else {
			description, err = conn.Prepare(ctx, s.name, s.sql, nil)
		}
		if err != nil {
			return nil, true, err
		}
		has[known] = description
	}
	if _, asks := has[serverStatement]; s.name != "" && !asks {
		if _, err = conn.Prepare(ctx, serverStatement, serverQuery, nil); err != nil {
			return nil, true, err
		}
		has[serverStatement] = true
	}
	return description, !found, nil
}

// A request is one use of a query.
type request struct {
	name    string // of the prepared statement; "" for none
	sql     string
	value   [][]byte
	oids    []uint32
	formats []int16 // of the columns
	// settings are set for the transaction, beside those of the connection. They are for requests
	// without a name.
	settings []setting
}

// ask sends serverQuery and the query of the request in one pipeline. It calls read only
// if the server may answer. This matters for an empty result too, because a standby may
// not have a new user yet.
//
// serverQuery comes first: a standby that is promoted between the two has replayed all
// transactions that it ever will. Both are in one transaction, so that a pooler sends
// them to the same server.
//
// Without a prepared statement the session may belong to a pooler, which shares it with
// other clients, so it cannot be made read-only. In that case ask makes the transaction
// read-only.
func (c serverCheck) ask(ctx context.Context, conn *pgconn.PgConn, r request, read func(*pgconn.ResultReader) error) error {
	pipeline := conn.StartPipeline(ctx)
	var steps []func(*pgconn.ResultReader) error
	if r.name != "" {
		pipeline.SendQueryPrepared(serverStatement, nil, nil, nil)
		pipeline.SendQueryPrepared(r.name, r.value, nil, r.formats)
	} else {
		steps = append(steps, func(result *pgconn.ResultReader) error {
			_, err := result.Close()
			return err
		})
		begin, values := beginning(append(slices.Clone(settingsOf(conn)), r.settings...))
		pipeline.SendQueryParams(begin, values, nil, nil, nil)
		pipeline.SendQueryParams(serverQuery, nil, nil, nil, nil)
		pipeline.SendQueryParams(r.sql, r.value, r.oids, nil, r.formats)
	}
	steps = append(steps, c.read, read)
	err := pipeline.Sync()
	for n := 0; err == nil && n < len(steps); n++ {
		var result any
		if result, err = pipeline.GetResults(); err == nil {
			err = steps[n](result.(*pgconn.ResultReader)) //nolint:forcetypeassert // this is what answers a query
		}
	}
	if closeErr := pipeline.Close(); err == nil {
		err = closeErr
	}
	return err
}

// isStale reports whether an error means that the connection is stale, and not that the
// database fails. fresh reports whether the statement was prepared for this question.
func isStale(err error, fresh bool) bool {
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting || pgconn.Timeout(err) {
		return false
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case adminShutdown, "57P02", "57P05": // the server ends this session
			return true
		}
		switch pgErr.Code[:2] {
		case "08": // connection exception
			return true
		case "0A", "26", "42": // the statement was prepared for tables that have changed
			return !fresh
		}
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// contextFirst returns an error that wraps the context's error if ctx has ended. The
// driver does not always do so.
func contextFirst(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil && !errors.Is(err, ctxErr) {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	return err
}
