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
	"and percent-encode what is special in the password")

var (
	// A driver after the + is SQLAlchemy's.
	schemeText    = regexp.MustCompile(`^postgres(?:ql)?(?:\+[a-z0-9_]+)?$`)
	anyScheme     = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	parameterText = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,40}$`)
)

// Parameters that mean here what they mean to libpq, or that the server takes.
var kept = []string{
	"host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslsni",
	"sslcertmode", "sslnegotiation", "channel_binding", "require_auth", "target_session_attrs", "passfile", "service", "servicefile",
	"krbspn", "krbsrvname", "min_protocol_version", "max_protocol_version",
	"application_name", "options", "search_path", "timezone", "statement_timeout", "lock_timeout", "default_transaction_read_only",
}

// Parameters of other drivers that say nothing here. connect_timeout is among
// them because directory.timeout bounds connecting too.
var dropped = []string{
	"connect_timeout", "timeout", "command_timeout", "async_fallback", "prepared_statement_name_func", "max_cached_statement_lifetime",
	"max_cacheable_statement_size", "client_encoding", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval",
	"keepalives_count", "tcp_user_timeout", "json_serializer",
}

// readURL turns the URL into one for pgx. unprepared is whether the URL turns
// prepared statements off, which is how applications say that a pooler stands
// before the database.
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
		return "", false, errURL // of a password, which the driver would take for a part of the host
	}
	if !strings.Contains(scheme, "+") {
		query = strings.ReplaceAll(query, "+", "%2B") // a space to SQLAlchemy, itself to libpq and the driver
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
			// SQLAlchemy's form of several servers: host=a:5432&host=b:5432.
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
			// 0, and None to psycopg, mean that nothing may be prepared.
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
	// To the driver a plus is no space.
	return "postgres://" + rest + "?" + strings.ReplaceAll(params.Encode(), "+", "%20"), unprepared, nil
}

// refusedBy says why the driver refuses a URL: for its TLS parameters, when it
// takes the URL without them.
func refusedBy(address string) error {
	rest, query, _ := strings.Cut(address, "?")
	params, _ := url.ParseQuery(query) // readURL wrote it
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

// hostPort is a name or an IPv4 address with its port: a bare IPv6 address has more colons.
var hostPort = regexp.MustCompile(`^[^:/,]+:[0-9]+$`)

// splitHosts makes libpq's two lists of servers that have their ports with them.
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

// sslMode translates asyncpg's ssl.
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
