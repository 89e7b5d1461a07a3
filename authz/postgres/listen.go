package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// channel is the notification channel of the reference schema's triggers. The payload is
// "users <id>", "api_keys <id>", or the name of a table whose rows may all have changed.
const channel = "warder_directory"

const (
	// probeAfter is how long a listener waits for a notification before it pings the
	// server. Without pings it would not notice a dead connection.
	probeAfter = time.Second
	// probeTimeout bounds LISTEN and a ping.
	probeTimeout = time.Second

	// firstRetry and lastRetry bound the pause between two attempts to listen. They are
	// well below the 2s within which warder must recover from an outage.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
	// refusedRetry is the pause after the server rejected the attempt, as a standby does.
	// That rarely changes, and each attempt costs the server a process.
	refusedRetry = 5 * time.Second
)

// Changes are the callbacks of [Directory.Listen]. They are called one at a time and must
// not block.
type Changes struct {
	User    func(id string) // the user with this id may have changed
	Users   func()          // any user may have changed
	APIKeys func()          // any API key may have changed
}

// Listen calls the callbacks when the triggers of the reference schema notify of changes.
// It returns a function that stops it; after that function returns there are no more
// calls. Listen uses a connection of its own and reconnects when it breaks. After each
// connection it reports that everything may have changed, because earlier notifications
// may have been lost.
//
// Listening only makes changes visible sooner, and must not be relied on. The triggers may
// be missing. A pooler in transaction mode accepts LISTEN and never delivers a notification,
// so Listen says that changes are announced only after a notification of its own has arrived.
func (d *Directory) Listen(to Changes) (stop func()) {
	l := &listener{to: to, directory: d, each: idsAreKeys(d.users.sql), log: d.warnings.log, proof: "warder_proof_" + strings.ToLower(rand.Text())}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
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

// idsAreKeys reports whether the id in a notification is the parameter of the users query.
// A configured query may look users up by another column or join other tables.
func idsAreKeys(sql string) bool {
	t, ok := tableOf(sql)
	return ok && (strings.EqualFold(t.column, "id") || t.column == `"id"`)
}

type listener struct {
	to        Changes
	directory *Directory
	each      bool // report changes of single users
	log       *slog.Logger
	lost      bool // not listening, and this was logged

	proof string // the channel of its own notifications
	heard bool   // one has arrived
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
			l.log.WarnContext(ctx, "changes of users and API keys are not announced at the moment; until they are, they take effect after directory.max_staleness",
				slog.Any("error", explain("directory", err)))
		}
		if proven {
			retry = firstRetry
		}
		pause := retry
		if code := codeOf(err); code != "" && !temporary(code) || errors.Is(err, errUnheard) {
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

// listen connects and listens until the connection breaks. proven reports whether the
// connection lasted until its first ping.
func (l *listener) listen(ctx context.Context) (proven bool, err error) {
	// Each server has connectTimeout. The fallbacks are the other servers of the URL.
	servers := 1 + len(l.directory.access.current.Load().config.Fallbacks)
	connecting, cancel := context.WithTimeout(ctx, time.Duration(servers)*connectTimeout)
	conn, at, err := l.directory.connect(connecting, l.config)
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
	// When the directory moves to another database, this one does not tell of its changes.
	now, moved := l.directory.access.place()
	if !now.sameDatabase(at) {
		return false, errMoved
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	go func() {
		select {
		case <-moved:
			leave(errMoved)
		case <-ctx.Done():
		}
	}()
	if err := within(ctx, probeTimeout, func(ctx context.Context) error {
		return conn.Exec(ctx, "LISTEN "+channel+"; LISTEN "+l.proof).Close()
	}); err != nil {
		return false, err
	}
	l.everything() // may have changed before LISTEN
	if err := l.prove(ctx, conn); err != nil {
		return false, cmp.Or(movedBy(ctx), err)
	}
	l.log.InfoContext(ctx, "changes of users and API keys are seen as they are announced")
	l.lost = false
	for {
		err := within(ctx, probeAfter, conn.WaitForNotification)
		if err != nil && pgconn.Timeout(err) && ctx.Err() == nil {
			err = within(ctx, probeTimeout, conn.Ping)
			proven = true
		}
		if err != nil {
			return proven, cmp.Or(movedBy(ctx), err)
		}
	}
}

// movedBy returns errMoved if the directory has moved, or nil.
func movedBy(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errMoved) {
		return errMoved
	}
	return nil
}

// errUnheard means that LISTEN was accepted without effect.
var errUnheard = misfit{"LISTEN is accepted and has no effect: a notification of warder's own did not arrive, as through a pooler in transaction mode; " +
	"name the database itself, or a pooler in session mode"}

// prove sends a notification from another connection and waits for it on conn. It has to be
// another one: a pooler passes on what arrives during a transaction of the same client.
func (l *listener) prove(ctx context.Context, conn *pgconn.PgConn) error {
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	other, _, err := l.directory.connect(connecting, func(t *target) *pgconn.Config { return t.config.Config.Copy() })
	if err != nil {
		return contextFirst(connecting, err)
	}
	defer func() {
		leaving, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = other.Close(leaving)
	}()
	l.heard = false
	if err := within(ctx, probeTimeout, func(ctx context.Context) error { return other.Exec(ctx, "NOTIFY "+l.proof).Close() }); err != nil {
		return err
	}
	return within(ctx, probeTimeout, func(bounded context.Context) error {
		for !l.heard {
			if err := conn.WaitForNotification(bounded); err != nil {
				if pgconn.Timeout(err) && ctx.Err() == nil {
					return errUnheard
				}
				return err
			}
		}
		return nil
	})
}

var errMoved = misfit{"the configuration names another database or user"}

// config returns the configuration of the listener's connection to a target.
func (l *listener) config(t *target) *pgconn.Config {
	c := t.config.Config.Copy()
	c.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if n.Channel == l.proof {
			l.heard = true
			return
		}
		l.announced(n.Payload)
	}
	if name := c.RuntimeParams["application_name"]; name != "" {
		c.RuntimeParams["application_name"] = name + " listener"
	}
	return c
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// announced handles a notification. An unknown payload, from a user's own trigger or a
// later version of the schema, counts as a change of everything.
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
