package postgres

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// channel is where the triggers of the reference schema announce what changed:
// "users <id>", "api_keys <id>", or the name of a table of which all changed.
const channel = "warder_directory"

const (
	// A listener hears nothing for long while all is well, so that a connection
	// that died without a word is noticed by asking: silence may last this long …
	probeAfter = time.Second
	// … and so long the answer may take.
	probeTimeout = time.Second

	// Between two attempts to listen: well below the 2s in which all is to be well.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
	// refusedRetry is for a server that answers and refuses, a standby for one:
	// time does not heal that, and each attempt costs it a process.
	refusedRetry = 5 * time.Second
)

// Changes are told what changed. They are called one after another and must not
// wait.
type Changes struct {
	User    func(id string) // one user
	Users   func()          // any user
	APIKeys func()          // any API key
}

// Listen tells of changes as the triggers of the reference schema announce them,
// until stop, which returns when no call will come any more. It has a connection
// of its own, makes it anew as often as it breaks, and tells that everything may
// have changed whenever it has made one: what was announced before is lost.
//
// Listening makes changes seen sooner. Nothing may depend on it: triggers may be
// missing, and a pooler that hands out connections for single transactions lets
// one listen and never announces anything.
func (d *Directory) Listen(to Changes) (stop func()) {
	l := &listener{to: to, config: &d.pool.Config().ConnConfig.Config, each: idsAreKeys(d.users.sql), log: d.warnings.log}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { l.announced(n.Payload) }
	if name := l.config.RuntimeParams["application_name"]; name != "" {
		l.config.RuntimeParams["application_name"] = name + " listener"
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// idsAreKeys reports whether the id that an announcement names is the one that a
// query is asked with. In a query of the configuration another column may be, or
// rows of another table may count.
func idsAreKeys(sql string) bool {
	t, ok := tableOf(sql)
	return ok && (strings.EqualFold(t.column, "id") || t.column == `"id"`)
}

type listener struct {
	to     Changes
	config *pgconn.Config
	each   bool // changes of users are told one by one
	log    *slog.Logger
	lost   bool // and said so
}

// run listens until the context ends.
func (l *listener) run(ctx context.Context) {
	retry := firstRetry
	for {
		proven, err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if !l.lost {
			l.lost = true
			l.log.WarnContext(ctx, "changes of users and API keys are not announced at the moment; until they are, they are seen after directory.max_staleness",
				slog.Any("error", explain("directory", err)))
		}
		if proven {
			retry = firstRetry
		}
		pause := retry
		if code := codeOf(err); code != "" && !temporary(code) {
			pause = refusedRetry
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		retry = min(2*retry, lastRetry)
	}
}

// listen connects and listens until the connection breaks. proven is whether it
// held for a while.
func (l *listener) listen(ctx context.Context) (proven bool, err error) {
	// A server has connectTimeout; the fallbacks are the others that the URL names.
	connecting, cancel := context.WithTimeout(ctx, time.Duration(1+len(l.config.Fallbacks))*connectTimeout)
	conn, err := pgconn.ConnectConfig(connecting, l.config)
	if err != nil {
		err = contextFirst(connecting, err)
		cancel()
		return false, err
	}
	cancel()
	defer func() {
		leaving, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = conn.Close(leaving)
	}()
	if err := within(ctx, probeTimeout, func(ctx context.Context) error { return conn.Exec(ctx, "LISTEN "+channel).Close() }); err != nil {
		return false, err
	}
	l.everything() // may have changed before this
	l.log.InfoContext(ctx, "changes of users and API keys are seen as they are announced")
	l.lost = false
	for {
		err := within(ctx, probeAfter, conn.WaitForNotification)
		if err != nil && pgconn.Timeout(err) && ctx.Err() == nil {
			err = within(ctx, probeTimeout, conn.Ping)
			proven = true
		}
		if err != nil {
			return proven, err
		}
	}
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// announced reads an announcement. One that it does not understand may mean
// anything: a trigger of the user's own, a later version of ours.
func (l *listener) announced(payload string) {
	table, id, one := strings.Cut(payload, " ")
	switch {
	case table == "users" && one && l.each:
		l.to.User(id)
	case table == "users":
		l.to.Users()
	case table == "api_keys":
		l.to.APIKeys()
	default:
		l.everything()
	}
}

func (l *listener) everything() {
	l.to.Users()
	l.to.APIKeys()
}
