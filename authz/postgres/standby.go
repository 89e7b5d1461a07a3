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

// serverQuery asks what kind of server answers: whether it is a standby, and how
// many seconds ago the primary committed the last transaction that the standby has
// replayed.
//
// Only that time proves how old the data is, through any number of servers between.
// Equal positions in the log (pg_last_wal_receive_lsn, pg_last_wal_replay_lsn) also
// hold for a standby that has lost its primary, and pg_stat_wal_receiver shows the
// next server only. So an idle primary looks like one that cannot be reached.
const serverQuery = "SELECT pg_catalog.pg_is_in_recovery(), " +
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN " +
	"EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8 END"

// serverStatement is the name of the prepared serverQuery.
const serverStatement = "warder_server"

var (
	errStandby = errors.New("the server is a standby, which may not know yet what has changed; name the primary in directory.database_url " +
		"(of several hosts the primary is chosen), or accept how far the standby is behind with directory.standby: true")
	errLagUnknown = errors.New("the server is a standby that has replayed no transaction since it started, so that nobody knows how far it is behind")
)

// isStandby reports whether the error says that the server's data may be too old.
func isStandby(err error) bool {
	_, behind := errors.AsType[behindError](err)
	return behind || errors.Is(err, errStandby) || errors.Is(err, errLagUnknown) || errors.Is(err, pgconn.ErrStandbyConnection)
}

// A behindError is a standby that is further behind than the configuration accepts.
type behindError struct{ lag, accepted time.Duration }

func (e behindError) Error() string {
	if e.lag < 0 {
		return fmt.Sprintf("the server is a standby whose clock is behind the primary's by %v or more; set the clocks, or nobody knows how old its data is", -e.lag)
	}
	return fmt.Sprintf("the server is a standby, and the last transaction that it has replayed is %v old; directory.max_standby_lag is %v", e.lag, e.accepted)
}

// A serverCheck judges the answers to serverQuery.
type serverCheck struct {
	standby bool          // a standby may answer
	maxLag  time.Duration // when its data is no older
}

// read reads the one row. Whatever is not understood is not the primary.
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

// judge reads a row in text.
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
	// Compared as seconds: a Duration holds 292 years.
	bound := c.maxLag.Seconds()
	if seconds <= bound && seconds >= -bound {
		return nil
	}
	if !(seconds > -1e9 && seconds < 1e9) {
		return errLagUnknown
	}
	return behindError{lag: time.Duration(seconds * float64(time.Second)).Round(time.Millisecond), accepted: c.maxLag}
}

// chosen is how long a connection to a standby that may not answer is kept: until
// then it may become the primary, and after that its name may stand for another server.
const chosen = time.Second

// outlived reports whether a connection has led to a standby for so long that another
// should be tried.
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

// A standbyLog says once that a standby is refused, until a server was accepted.
type standbyLog struct {
	limited limitedLog // for servers that take turns
	refused atomic.Bool
}

func (l *standbyLog) saw(ctx context.Context, err error) {
	switch {
	case isStandby(err):
		if l.refused.CompareAndSwap(false, true) {
			l.limited.warn(ctx, explain("directory", err).Error()+"; users and API keys are unavailable until then")
		}
	case l.refused.Load():
		l.refused.Store(false)
	}
}
