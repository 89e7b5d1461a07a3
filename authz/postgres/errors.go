package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"warder/authz/mask"
)

// ErrUnreachable is wrapped by every error that may be temporary: the database is down,
// slow, starting, or out of resources. An error that wraps neither it nor
// [authz.ErrNotFound] nor [authz.ErrOverloaded] remains until the configuration or the
// database is changed.
var ErrUnreachable = errors.New("the database cannot be reached")

// errAnswered is wrapped, beside ErrUnreachable, by an error of the database that may be about
// one question.
var errAnswered = errors.New("it answers")

// IsOutage reports whether an error of [Directory.User] or [Directory.APIKey] means that the
// database does not answer. An error that is about one question, such as that a query takes
// too long or that a row is damaged, does not.
func IsOutage(err error) bool { return errors.Is(err, ErrUnreachable) && !errors.Is(err, errAnswered) }

// A misfit is an error about a query or a table that warder cannot use. Its text never
// contains data of a row.
type misfit struct{ text string }

func (m misfit) Error() string { return m.text }

func unfit(text string) error { return misfit{text} }

// codeOf returns the SQLSTATE of a server's error, or "" for any other error.
func codeOf(err error) string {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	if pgErr == nil || len(pgErr.Code) != 5 {
		return ""
	}
	return pgErr.Code
}

// classOf returns the class of the SQLSTATE, which is its first two characters.
func classOf(err error) string {
	if code := codeOf(err); code != "" {
		return code[:2]
	}
	return ""
}

// explain converts an error of the driver into one that is safe to log: it contains no
// address, password, SQL or data. It wraps only [ErrUnreachable], the context's errors and
// warder's own errors.
func explain(field string, err error) error {
	if m, ok := errors.AsType[misfit](err); ok {
		return fmt.Errorf("%s: %w", field, m)
	}
	if isStandby(err) {
		if errors.Is(err, pgconn.ErrStandbyConnection) {
			err = errStandby // without the address
		}
		return fmt.Errorf("directory: %w: %w", ErrUnreachable, err)
	}
	pgErr, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case answered && poolerErrors[pgErr.Code]:
		return fmt.Errorf("%s: %s; if a pooler such as PgBouncer is in front of the database, add pgbouncer=true to directory.database_url", field, answer(pgErr))
	case answered && pgErr.Code == "08P01" && strings.Contains(pgErr.Message, "startup parameter"):
		return startupRefused(pgErr)
	case answered && pgErr.Code == "08P01" && refusesLogin.MatchString(pgErr.Message):
		return fmt.Errorf("directory.database_url: a pooler in front of the database refuses the connection: %s", answer(pgErr))
	case answered && temporary(pgErr.Code) && aboutOne(pgErr.Code):
		return fmt.Errorf("directory: %w: %w: %s", ErrUnreachable, errAnswered, answer(pgErr))
	case answered && temporary(pgErr.Code):
		return fmt.Errorf("directory: %w: %s", ErrUnreachable, answer(pgErr))
	case answered && pgErr.Severity == "FATAL":
		return fmt.Errorf("directory.database_url: the database refuses the connection: %s", answer(pgErr))
	case answered:
		return fmt.Errorf("%s: the database refuses the query: %s", field, answer(pgErr))
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("directory: the request was canceled: %w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return fmt.Errorf("directory: %w: it did not answer in time: %w", ErrUnreachable, context.DeadlineExceeded)
	}
	return fmt.Errorf("directory: %w: %s", ErrUnreachable, network(err))
}

// refusesLogin matches the messages of PgBouncer that are about the login. It has one SQLSTATE,
// 08P01, for these and for what may go away by itself.
var refusesLogin = regexp.MustCompile(`(?i)auth|no such (user|database)|not allowed|(login|password) (is )?rejected|SSL required|TLS required|bouncer config error`)

var startupParameter = regexp.MustCompile(`startup parameter(?: in options)?: ([A-Za-z_.]{1,63})$`)

// startupRefused explains that a pooler rejects a startup parameter.
func startupRefused(e *pgconn.PgError) error {
	which := "a startup parameter"
	if m := startupParameter.FindStringSubmatch(e.Message); m != nil {
		which = "the startup parameter " + m[1]
		if !strings.HasPrefix(m[1], "default_transaction_") {
			return fmt.Errorf("directory.database_url: a pooler in front of the database rejects %s; leave it out of the URL, or add it to ignore_startup_parameters of the pooler if the database needs it", which)
		}
	}
	return fmt.Errorf("directory.database_url: a pooler in front of the database rejects %s; add pgbouncer=true to the URL", which)
}

// poolerErrors are the SQLSTATEs that occur when a pooler moves a client to a connection
// with other prepared statements.
var poolerErrors = map[string]bool{"26000": true, "42P05": true}

// temporary reports whether a server's error with this SQLSTATE may go away without a
// change of the configuration.
func temporary(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", // connection exception
		"40", // transaction rollback
		"53", // insufficient resources
		"55", // not in prerequisite state, lock not available
		"57", // operator intervention: starting up, shutting down, query cancelled
		"58", // system error
		"F0", // configuration file error
		"XX": // internal error
		return true
	}
	return false
}

// aboutOne reports whether a server's error with this SQLSTATE, which is temporary, may be about
// one question.
func aboutOne(code string) bool {
	switch code[:min(2, len(code))] {
	case "40", "55", "58", "XX":
		return true
	}
	return code == "57014" // query cancelled, by statement_timeout
}

// answer formats a server's error. It includes the message only for classes whose messages
// contain just names of tables, columns, roles or settings, and for the refusal of a
// connection, at which no data was seen. Other messages may quote data.
func answer(e *pgconn.PgError) string {
	class := e.Code[:min(2, len(e.Code))]
	if slices.Contains([]string{"28", "3D", "3F", "42", "53", "57"}, class) || e.Severity == "FATAL" {
		return fmt.Sprintf("%s (SQLSTATE %s)", bounded(withoutLiterals.ReplaceAllString(e.Message, "'…'")), e.Code)
	}
	return fmt.Sprintf("SQLSTATE %s", e.Code)
}

// longestMessage is the greatest number of characters of a server's message that are shown.
const longestMessage = 300

// bounded returns a message of a server for a log: one line, without what looks like a secret.
func bounded(message string) string {
	runes := []rune(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return ' '
		}
		return c
	}, message))
	if len(runes) > longestMessage {
		runes = append(runes[:longestMessage], '…')
	}
	return (&mask.Masker{}).String(string(runes))
}

// withoutLiterals matches the literals of the query that a few messages quote.
var withoutLiterals = regexp.MustCompile(`'[^']*'`)

// isCertificateRefused reports whether the server or warder does not accept the certificate of
// the other.
func isCertificateRefused(err error) bool {
	_, theirs := errors.AsType[*tls.CertificateVerificationError](err)
	_, ours := errors.AsType[tls.AlertError](err)
	return theirs || ours
}

func network(err error) string {
	dns, _ := errors.AsType[*net.DNSError](err)
	certificate, _ := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENOENT):
		return "no such socket"
	case errors.Is(err, syscall.EACCES):
		return "permission denied on the socket"
	case dns != nil:
		return "the host's name is not known"
	case strings.Contains(err.Error(), "server refused TLS connection"): // the driver has no error value for this
		return "the server does not speak TLS; turn it on there, or write sslmode=disable where nobody else is on the network"
	case certificate != nil:
		return certificateFault(certificate)
	}
	return "the connection broke"
}

// certificateFault says what is wrong with the certificate of a server.
func certificateFault(err *tls.CertificateVerificationError) string {
	name, _ := errors.AsType[x509.HostnameError](err.Err)
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err.Err)
	switch {
	case name.Certificate != nil:
		return "its certificate does not have the name of the host in the URL; " + namesOf(name.Certificate) +
			": write one of its names as the host, or sslmode=verify-ca to accept any name of a certificate that sslrootcert signs"
	case invalid.Cert != nil && invalid.Reason == x509.Expired:
		return "its certificate has expired, or is not valid yet"
	}
	return "its certificate is not trusted; name the authority with sslrootcert"
}

// namesOf lists the first names that a certificate is for.
func namesOf(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	const shown = 5
	more := ""
	if len(names) > shown {
		names, more = names[:shown], ", …"
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%.100q", name)
	}
	if len(names) == 0 {
		return "it is for no host (a common name does not count)"
	}
	return "it is for " + strings.Join(names, ", ") + more
}
