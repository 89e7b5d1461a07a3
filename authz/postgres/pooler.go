package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A setting is one of the server, which is set in each transaction.
type setting struct{ name, value string }

// ofTransactions are the settings that each transaction can set for itself.
var ofTransactions = []string{"search_path", "role", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}

// takeSettings takes the settings of the server out of the startup parameters, also where they
// are in options. A pooler such as PgBouncer refuses a login with a startup parameter that it
// does not know, and it shares a session with other clients, so that only a transaction can set
// something.
func takeSettings(c *pgx.ConnConfig) (taken []setting) {
	for _, name := range ofTransactions {
		if value, given := c.RuntimeParams[name]; given {
			taken = append(taken, setting{name, value})
			delete(c.RuntimeParams, name)
		}
	}
	var left []string
	words := optionWords(c.RuntimeParams["options"])
	for i := 0; i < len(words); i++ {
		assignment, taking := "", 1
		switch word := words[i]; {
		case word == "-c" && i+1 < len(words):
			assignment, taking = words[i+1], 2
		case strings.HasPrefix(word, "-c"):
			assignment = word[len("-c"):]
		case strings.HasPrefix(word, "--"):
			assignment = word[len("--"):]
		}
		name, value, _ := strings.Cut(assignment, "=")
		if name = strings.ReplaceAll(name, "-", "_"); slices.Contains(ofTransactions, name) {
			taken = append(taken, setting{name, value})
		} else {
			for _, word := range words[i : i+taking] {
				left = append(left, escapeOption(word))
			}
		}
		i += taking - 1
	}
	delete(c.RuntimeParams, "options")
	if len(left) > 0 {
		c.RuntimeParams["options"] = strings.Join(left, " ")
	}
	return taken
}

// optionWords splits the value of options as Postgres does: at white space, with \ before a
// character that stands for itself.
func optionWords(options string) (words []string) {
	var word strings.Builder
	inWord := false
	for i := 0; i < len(options); i++ {
		switch c := options[i]; {
		case strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
			continue
		case c == '\\' && i+1 < len(options):
			i++
		}
		word.WriteByte(options[i])
		inWord = true
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

var optionSpecial = regexp.MustCompile(`[ \t\n\v\f\r\\]`)

func escapeOption(word string) string { return optionSpecial.ReplaceAllString(word, `\$0`) }

// beginning is the first statement of a transaction that makes it read-only and sets what a
// session would have set.
func beginning(settings []setting) (sql string, values [][]byte) {
	var calls strings.Builder
	for _, s := range settings {
		values = append(values, []byte(s.value))
		fmt.Fprintf(&calls, ", pg_catalog.set_config('%s', $%d::text, true)", s.name, len(values))
	}
	return "SELECT pg_catalog.set_config('transaction_read_only', 'on', true)" + calls.String(), values
}

// settingsOf returns the settings of a connection's transactions.
func settingsOf(conn *pgconn.PgConn) []setting {
	if t, known := conn.CustomData()[loggedInWith].(*target); known {
		return t.settings
	}
	return nil
}

// describe returns the description of a statement. It asks in a transaction with the settings
// of the connection, because they decide what the name of a table means.
func describe(ctx context.Context, conn *pgconn.PgConn, sql string) (*pgconn.StatementDescription, error) {
	pipeline := conn.StartPipeline(ctx)
	begin, values := beginning(settingsOf(conn))
	pipeline.SendQueryParams(begin, values, nil, nil, nil)
	pipeline.SendPrepare("", sql, nil)
	err := pipeline.Sync()
	var description *pgconn.StatementDescription
	for n := 0; err == nil && n < 2; n++ {
		var result any
		if result, err = pipeline.GetResults(); err != nil {
			break
		}
		switch result := result.(type) {
		case *pgconn.ResultReader:
			_, err = result.Close()
		case *pgconn.StatementDescription:
			description = result
		}
	}
	if closeErr := pipeline.Close(); err == nil {
		err = closeErr
	}
	return description, err
}
