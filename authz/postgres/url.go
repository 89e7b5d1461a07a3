package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

var errURL = errors.New("cannot be read; write postgres://user:password@host:port/database?sslmode=require, " +
	"and percent-encode special characters in the password")

var (
	// The part after a + is SQLAlchemy's name of a driver.
	schemeText    = regexp.MustCompile(`^postgres(?:ql)?(?:\+[a-z0-9_]+)?$`)
	anyScheme     = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	parameterText = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,40}$`)
)

// Parameters that are passed on. They have libpq's meaning or are settings of the server.
var kept = []string{
	"host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslsni",
	"sslcertmode", "sslnegotiation", "channel_binding", "require_auth", "target_session_attrs", "passfile", "service", "servicefile",
	"krbspn", "krbsrvname", "min_protocol_version", "max_protocol_version",
	"application_name", "options", "search_path", "timezone", "statement_timeout", "lock_timeout", "default_transaction_read_only",
}

// Parameters of other drivers that are ignored. connect_timeout is among them because
// directory.timeout bounds connecting too.
var dropped = []string{
	"connect_timeout", "timeout", "command_timeout", "async_fallback", "prepared_statement_name_func", "max_cached_statement_lifetime",
	"max_cacheable_statement_size", "client_encoding", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval",
	"keepalives_count", "tcp_user_timeout", "json_serializer",
}

// readURL converts the URL into one for pgx. unprepared reports whether the URL disables
// prepared statements, as applications do when a pooler is in front of the database.
func readURL(text string) (address string, unprepared bool, err error) {
	if text == "" {
		return "", false, errors.New("is empty; write postgres://user:password@host:port/database")
	}
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case !found:
		return "", false, errURL
	case !schemeText.MatchString(scheme) && anyScheme.MatchString(scheme):
		return "", false, fmt.Errorf("the scheme %s:// is not known; use postgres:// or postgresql://", scheme)
	case !schemeText.MatchString(scheme) || strings.Contains(rest, "#"):
		return "", false, errURL
	}
	rest, query, _ := strings.Cut(rest, "?")
	if authority, _, _ := strings.Cut(rest, "/"); strings.Count(authority, "@") > 1 {
		return "", false, errURL // the driver would take part of the password for the host
	}
	if !strings.Contains(scheme, "+") {
		query = strings.ReplaceAll(query, "+", "%2B") // SQLAlchemy decodes a plus to a space; libpq and pgx do not
	}
	given, err := url.ParseQuery(query)
	if err != nil {
		return "", false, errURL
	}
	params := url.Values{}
	for name, values := range given {
		value := values[0]
		switch {
		case name == "host" && (len(values) > 1 || hostPort.MatchString(value)):
			// SQLAlchemy's form for several servers: host=a:5432&host=b:5432.
			hosts, ports := splitHosts(values)
			params.Set("host", hosts)
			if given.Get("port") == "" {
				params.Set("port", ports)
			}
		case len(values) > 1 && parameterText.MatchString(name):
			return "", false, fmt.Errorf("the parameter %s is given twice; keep one", name)
		case name == "ssl":
			if name, value = "sslmode", sslMode(value); value == "" {
				return "", false, errors.New("the value of ssl is not known; use disable, allow, prefer, require, verify-ca or verify-full")
			}
			if other := given.Get("sslmode"); other != "" && other != value {
				return "", false, errors.New("ssl and sslmode disagree; leave one out")
			}
			params.Set(name, value)
		case name == "prepared_statement_cache_size" || name == "statement_cache_size" || name == "prepare_threshold":
			// 0, or None for psycopg, disables prepared statements.
			unprepared = unprepared || value == "0" && name != "prepare_threshold" || value == "None"
		case slices.Contains(kept, name):
			params.Set(name, value)
		case slices.Contains(dropped, name):
		case parameterText.MatchString(name):
			return "", false, fmt.Errorf("the parameter %s is not known; leave it out", name)
		default: // an unencoded password can look like a parameter
			return "", false, errURL
		}
	}
	// pgx does not decode a plus to a space.
	return "postgres://" + rest + "?" + strings.ReplaceAll(params.Encode(), "+", "%20"), unprepared, nil
}

// refusedBy returns the reason why the driver rejects a URL. It names the TLS parameters if
// the driver accepts the URL without them.
func refusedBy(address string) error {
	rest, query, _ := strings.Cut(address, "?")
	params, _ := url.ParseQuery(query) // readURL produced it
	var named []string
	for _, name := range []string{"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"} {
		if params.Has(name) {
			named = append(named, name)
			params.Del(name)
		}
	}
	if _, err := pgconn.ParseConfig(rest + "?" + params.Encode()); err != nil || len(named) == 0 {
		return errURL
	}
	return fmt.Errorf("%s cannot be used: sslmode is disable, allow, prefer, require, verify-ca or verify-full, and the others name files in PEM that can be read", strings.Join(named, ", "))
}

// hostPort matches a host name or an IPv4 address with a port. An IPv6 address has more
// colons.
var hostPort = regexp.MustCompile(`^[^:/,]+:[0-9]+$`)

// splitHosts converts servers, each with an optional port, into libpq's lists of hosts and
// ports.
func splitHosts(servers []string) (hosts, ports string) {
	var h, p []string
	for _, server := range servers {
		host, port := server, "5432"
		if hostPort.MatchString(server) {
			host, port, _ = strings.Cut(server, ":")
		}
		h, p = append(h, host), append(p, port)
	}
	return strings.Join(h, ","), strings.Join(p, ",")
}

// sslMode converts the value of asyncpg's ssl parameter to an sslmode, or returns "".
func sslMode(value string) string {
	switch value {
	case "disable", "allow", "prefer", "require", "verify-ca", "verify-full":
		return value
	case "true", "True", "1":
		return "require"
	case "false", "False", "0":
		return "disable"
	}
	return ""
}
