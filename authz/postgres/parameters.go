package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A parameterGroup is the parameters of a URL that warder treats alike.
type parameterGroup struct {
	names []string
	// use takes a value over, or returns what is wrong with it. The error never contains the
	// value.
	use func(r *urlReader, name, value string) error
}

// parameters are all parameters that a URL may have. Besides those of libpq they are of the
// libraries whose URLs people bring along: SQLAlchemy with psycopg2, psycopg and asyncpg,
// Prisma, JDBC and R2DBC, Django, Rails, Ecto, node-postgres, Go's drivers, sqlx and Doctrine.
// Any other parameter is an error.
var parameters = []parameterGroup{
	// libpq's own, and settings of the server.
	{[]string{
		"host", "port", "user", "password", "dbname", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslsni",
		"sslcertmode", "sslnegotiation", "channel_binding", "require_auth", "passfile", "service", "servicefile",
		"krbspn", "krbsrvname", "min_protocol_version", "max_protocol_version",
		"application_name", "options", "search_path", "role", "timezone", "statement_timeout", "lock_timeout",
		"idle_in_transaction_session_timeout", "default_transaction_read_only",
	}, keepAs("")},
	{[]string{"hostaddr"}, useHostAddress},
	{[]string{"database"}, keepAs("dbname")},
	{[]string{"ApplicationName"}, keepAs("application_name")},
	{[]string{"channelBinding"}, keepAs("channel_binding")},
	{[]string{"ssl-root-cert"}, keepAs("sslrootcert")},
	{[]string{"ssl-cert"}, keepAs("sslcert")},
	{[]string{"ssl-key"}, keepAs("sslkey")},

	{[]string{"sslmode", "ssl-mode", "ssl", "sslaccept", "sslfactory"}, useTLS},
	{[]string{"direct_tls"}, useDirectTLS},
	{[]string{"target_session_attrs", "targetServerType"}, useServerKind},

	// The schema.
	{[]string{"currentSchema", "schema_search_path"}, keepAs("search_path")},
	{[]string{"schema"}, useSchema},

	// What applications write when a pooler such as PgBouncer is in front of the database.
	{[]string{"pgbouncer"}, unpreparedIf("true", "false")},
	{[]string{"prepareThreshold"}, unpreparedIf("0", "")},
	{[]string{"prepared_statement_cache_size", "statement_cache_size", "statement_cache_capacity", "statement-cache-capacity"}, unpreparedIf("0 None", "")},
	{[]string{"prepare_threshold"}, unpreparedIf("None", "")}, // for psycopg, 0 prepares at once
	{[]string{"preferQueryMode"}, unpreparedIf("simple", "extended extendedForPrepared extendedCacheEverything")},
	{[]string{"default_query_exec_mode"}, unpreparedIf("exec simple_protocol cache_describe describe_exec", "cache_statement")},
	{[]string{"statement_cache_mode"}, unpreparedIf("describe", "prepare")},
	{[]string{"binary_parameters"}, unpreparedIf("yes", "no")},
	{[]string{"prepared_statements"}, unpreparedIf("false", "true")},
	{[]string{"prepare"}, unpreparedIf("unnamed false", "named true")},

	{[]string{"client_encoding", "encoding", "charset"}, useEncoding},
	{[]string{"gssencmode", "gssEncMode"}, useGSS},

	// Without effect: warder has its own pool, and directory.timeout bounds connecting and
	// each query.
	{[]string{
		// libpq
		"connect_timeout", "fallback_application_name", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "load_balance_hosts", "sslcompression", "gsslib", "gssdelegation",
		// SQLAlchemy, psycopg, asyncpg
		"pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping", "pool_use_lifo", "echo", "future", "isolation_level",
		"timeout", "command_timeout", "async_fallback", "prepared_statement_name_func", "max_cached_statement_lifetime",
		"max_cacheable_statement_size", "json_serializer", "json_deserializer", "executemany_mode", "use_native_hstore", "tcp_keepalive",
		// Prisma, Supabase, Vercel
		"connection_limit", "socket_timeout", "max_connection_lifetime", "max_idle_connection_lifetime", "single_use_connections", "supa", "workaround",
		// JDBC, R2DBC
		"loginTimeout", "connectTimeout", "socketTimeout", "cancelSignalTimeout", "tcpKeepAlive", "tcpNoDelay", "loadBalanceHosts",
		"hostRecheckSeconds", "reWriteBatchedInserts", "stringtype", "defaultRowFetchSize", "readOnly", "readOnlyMode", "binaryTransfer",
		"autosave", "assumeMinServerVersion", "preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "logUnclosedConnections",
		"loggerLevel", "adaptiveFetch", "maxResultBuffer", "receiveBufferSize", "sendBufferSize", "allowEncodingChanges", "cleanupSavepoints",
		"databaseMetadataCacheFields", "groupStartupParameters", "hideUnprivilegedObjects", "sslhostnameverifier", "initialSize", "maxSize", "maxIdleTime",
		// Django, Rails, Ecto
		"conn_max_age", "conn_health_checks", "disable_server_side_cursors", "ssl_require", "server_side_binding", "engine", "atomic_requests",
		"pool", "checkout_timeout", "idle_timeout", "reaping_frequency", "statement_limit", "reconnect", "adapter", "advisory_locks",
		"min_messages", "queue_target", "queue_interval", "show_sensitive_data_on_connection_error",
		// node-postgres, pgx, lib/pq, sqlx, Doctrine, Yugabyte
		"uselibpqcompat", "max", "idleTimeoutMillis", "connectionTimeoutMillis", "query_timeout", "keepAlive",
		"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter",
		"pool_max_conn_idle_time", "pool_health_check_period", "description_cache_capacity", "disable_prepared_binary_result",
		"sqlx_logging", "serverVersion", "load_balance", "topology_keys",
	}, ignore},

	// What cannot be left out in silence, because the connection would be another or less safe.
	{[]string{"sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version", "requirepeer", "sslidentity", "sslpasswordcallback"},
		refuse("is not supported here, and a connection without it would be less safe than you want; leave it out if that is acceptable")},
	{[]string{"socketFactory", "socketFactoryArg", "cloudSqlInstance", "localSocketAddress", "replication"},
		refuse("is not supported here; name the server as host and port, or a socket as host=/directory")},
}

// parameter returns the group of a parameter, or nil.
func parameter(name string) *parameterGroup {
	for i := range parameters {
		if slices.Contains(parameters[i].names, name) {
			return &parameters[i]
		}
	}
	return nil
}

// similarParameter returns a known parameter whose name differs only in case or in - and _, or "".
func similarParameter(name string) string {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	for _, group := range parameters {
		for _, known := range group.names {
			if plain(known) == plain(name) {
				return known
			}
		}
	}
	return ""
}

// keepAs passes a parameter on, under another name unless that is "".
func keepAs(other string) func(*urlReader, string, string) error {
	return func(r *urlReader, name, value string) error {
		to := other
		if to == "" {
			to = name
		}
		return r.set(to, value, name)
	}
}

func ignore(r *urlReader, name, _ string) error {
	r.ignored = append(r.ignored, name)
	return nil
}

func refuse(why string) func(*urlReader, string, string) error {
	return func(_ *urlReader, name, _ string) error { return fmt.Errorf("the parameter %s %s", name, why) }
}

// unpreparedIf disables prepared statements for one of the values. With other values, only
// those are known beside them; without, the others are numbers.
func unpreparedIf(values, others string) func(*urlReader, string, string) error {
	off, on := strings.Fields(values), strings.Fields(others)
	return func(r *urlReader, name, value string) error {
		switch {
		case slices.Contains(off, value):
			r.unprepared = true
		case slices.Contains(on, value) || others == "" && number.MatchString(value):
		default:
			want := "a number"
			if others != "" {
				want = strings.Join(slices.Concat(off, on), ", ")
			}
			return fmt.Errorf("the value of %s is not known; it is %s", name, want)
		}
		return nil
	}
}

var number = regexp.MustCompile(`^-?[0-9]{1,9}$`)

// useHostAddress uses libpq's address of a server where the URL has no host name. Where it has
// one, that is looked up.
func useHostAddress(r *urlReader, name, value string) error {
	if r.hasHost {
		return ignore(r, name, value)
	}
	return r.set("host", value, name)
}

// useTLS stores a parameter that sslMode evaluates, because their meanings depend on each other.
func useTLS(r *urlReader, name, value string) error {
	if name == "ssl-mode" {
		name = "sslmode"
	}
	if other, given := r.tls[name]; given && other != value {
		return errors.New("sslmode and ssl-mode disagree; leave one out")
	}
	r.tls[name] = value
	return nil
}

// useDirectTLS is asyncpg's name of libpq's sslnegotiation.
func useDirectTLS(r *urlReader, name, value string) error {
	switch truth(value) {
	case "true":
		return r.set("sslnegotiation", "direct", name)
	case "false":
		return nil
	}
	return errors.New("the value of direct_tls is not known; it is true or false")
}

// serverKinds are libpq's values of target_session_attrs, and those of JDBC's targetServerType.
var serverKinds = map[string]string{
	"any": "any", "read-write": "read-write", "read-only": "read-only", "primary": "primary", "standby": "standby", "prefer-standby": "prefer-standby",
	"master": "primary", "slave": "standby", "secondary": "standby", "preferSlave": "prefer-standby", "preferSecondary": "prefer-standby", "preferPrimary": "any",
}

func useServerKind(r *urlReader, name, value string) error {
	kind, known := serverKinds[value]
	if !known {
		return fmt.Errorf("the value of %s is not known; it is any, primary, standby, prefer-standby, read-write or read-only", name)
	}
	return r.set("target_session_attrs", kind, name)
}

// useSchema is Prisma's name of one schema.
func useSchema(r *urlReader, name, value string) error {
	if value == "" {
		return nil
	}
	if !plainName.MatchString(value) {
		value = pgx.Identifier{value}.Sanitize()
	}
	return r.set("search_path", value, name)
}

// useEncoding takes UTF-8, which is what warder uses.
func useEncoding(r *urlReader, name, value string) error {
	switch strings.ToLower(strings.ReplaceAll(value, "-", "")) {
	case "utf8", "unicode", "auto":
		return nil
	}
	return ignore(r, name, value)
}

func useGSS(_ *urlReader, name, value string) error {
	switch strings.ToLower(value) {
	case "disable", "allow", "prefer":
		return nil
	}
	return fmt.Errorf("the value of %s is not supported; encryption is by TLS only: write sslmode=verify-full", name)
}

// truth reads the booleans of several languages. It returns "" for any other text.
func truth(value string) string {
	switch strings.ToLower(value) {
	case "true", "1", "yes", "on":
		return "true"
	case "false", "0", "no", "off":
		return "false"
	}
	return ""
}
