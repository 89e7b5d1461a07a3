package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"warder/authz/authztest"
)

// A context may end at each step of a preparation. A connection that is still good afterwards
// prepares the rest, and nothing twice.
func TestPreparedByInterruptedContexts(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, Schema)
	for _, name := range []string{"warder_test", ""} {
		kept := 0
		for looks := range 12 {
			t.Run(fmt.Sprintf("%s/%d", name, looks), func(t *testing.T) {
				conn, err := pgconn.Connect(t.Context(), db.URL())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(context.WithoutCancel(t.Context()))
				s := &statement{field: "directory.users_query", name: name, sql: DefaultUsersQuery}

				_, _, err = s.prepared(&endsWhenSeen{Context: t.Context(), looks: looks, end: make(chan struct{})}, conn)
				if conn.IsClosed() {
					return // Release does not keep it
				}
				if err != nil {
					kept++
				}
				if description, _, err := s.prepared(t.Context(), conn); err != nil || len(description.ParamOIDs) != 1 {
					t.Errorf("after an interrupted preparation: %+v, %v", description, err)
				}
			})
		}
		if kept == 0 {
			t.Errorf("name %q: no connection was good after its context had ended", name)
		}
	}
}

// endsWhenSeen is a context that ends when it has been looked at some times.
type endsWhenSeen struct {
	context.Context //nolint:containedctx // it is one

	mu    sync.Mutex
	looks int
	end   chan struct{}
}

func (c *endsWhenSeen) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looks == 0 {
		close(c.end)
	}
	c.looks--
	return c.end
}

func (c *endsWhenSeen) Err() error {
	select {
	case <-c.end:
		return context.Canceled
	default:
		return nil
	}
}
