package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// serverQuery asks whether the server is a standby and, if so, how many seconds ago the
// primary committed the last transaction that the standby has replayed.
//
// Only that time shows how old the data is, also through a chain of standbys. A standby
// that has lost its primary can have equal WAL positions (pg_last_wal_receive_lsn,
// pg_last_wal_replay_lsn), and pg_stat_wal_receiver shows only the next server. A
// consequence is that an idle primary looks like an unreachable one.
const serverQuery = "SELECT pg_catalog.pg_is_in_recovery(), " +
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN " +
	"EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8 END"

// serverStatement is the name of the prepared serverQuery.
const serverStatement = "warder_server"

var (
	errStandby = errors.New("the server is a standby, whose data may be out of date; name the primary in directory.database_url " +
		"(of several hosts the primary is chosen), or accept the lag of the standby with directory.standby: true")
	errLagUnknown = errors.New("the server is a standby that has replayed no transaction since it started, so its lag is unknown")
)

// isStandby reports whether the error means that the server is a standby that may not
// answer.
func isStandby(err error) bool {
	_, behind := errors.AsType[behindError](err)
	return behind || errors.Is(err, errStandby) || errors.Is(err, errLagUnknown) || errors.Is(err, pgconn.ErrStandbyConnection)
}

// A behindError reports a standby that lags more than the configuration accepts.
type behindError struct{ lag, accepted time.Duration }

func (e behindError) Error() string {
	if e.lag < 0 {
		return fmt.Sprintf("the server is a standby whose clock is behind the primary's by %v or more, so its lag is unknown; synchronize the clocks", -e.lag)
	}
	return fmt.Sprintf("the server is a standby, and the last transaction that it replayed is %v old; directory.max_standby_lag is %v", e.lag, e.accepted)
}

// A serverCheck evaluates the results of serverQuery.
type serverCheck struct {
	standby bool          // a standby may answer
	maxLag  time.Duration // the greatest lag of a standby that may answer
}

// read reads the result. A result that is not understood counts as that of a standby.
func (c serverCheck) read(result *pgconn.ResultReader) error {
	verdict, rows := errStandby, 0
	for result.NextRow() {
		rows++
		verdict = c.judge(result.Values())
	}
	if _, err := result.Close(); err != nil {
		return err
	}
	if rows != 1 {
		return errStandby
	}
	return verdict
}

// judge evaluates a row in text format.
func (c serverCheck) judge(row [][]byte) error {
	switch {
	case len(row) == 2 && string(row[0]) == "f":
		return nil
	case len(row) != 2 || !c.standby:
		return errStandby
	case row[1] == nil:
		return errLagUnknown
	}
	seconds, err := strconv.ParseFloat(string(row[1]), 64)
	if err != nil {
		return errLagUnknown
	}
	// Compare in seconds, because a Duration overflows after 292 years.
	bound := c.maxLag.Seconds()
	if seconds <= bound && seconds >= -bound {
		return nil
	}
	if !(seconds > -1e9 && seconds < 1e9) {
		return errLagUnknown
	}
	return behindError{lag: time.Duration(seconds * float64(time.Second)).Round(time.Millisecond), accepted: c.maxLag}
}

// chosen is how long a connection to a standby that may not answer is kept. The standby may
// be promoted meanwhile. After that the host name may resolve to another server.
const chosen = time.Second

// outlived reports whether a connection has led to a standby for long enough that it should
// be replaced.
func (d *Directory) outlived(conn *pgconn.PgConn) bool {
	const since = "warder standby since"
	now := d.warnings.now()
	first, seen := conn.CustomData()[since].(time.Time)
	if !seen {
		conn.CustomData()[since] = now
		return false
	}
	return now.Sub(first) >= chosen
}

// A standbyLog warns once when a standby is rejected, and again only after a server was
// accepted.
type standbyLog struct {
	limited limitedLog // limits the warnings if answers alternate between servers
	refused atomic.Bool
}

func (l *standbyLog) saw(ctx context.Context, err error) {
	switch {
	case isStandby(err):
		if l.refused.CompareAndSwap(false, true) {
			l.limited.warn(ctx, explain("directory", err).Error()+"; users and API keys are unavailable until this is fixed")
		}
	case l.refused.Load():
		l.refused.Store(false)
	}
}
