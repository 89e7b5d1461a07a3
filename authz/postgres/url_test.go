package postgres

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestReadURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url        string
		want       string // the URL for pgx, or the error
		unprepared bool
	}{
		{"postgres://u:p@h:1/d", "postgres://u:p@h:1/d?", false},
		{"postgresql://u:p@h/d?sslmode=verify-full", "postgres://u:p@h/d?sslmode=verify-full", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=require", "postgres://u:p@h/d?sslmode=require", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=true", "postgres://u:p@h/d?sslmode=require", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=disable&sslmode=disable", "postgres://u:p@h/d?sslmode=disable", false},
		{"postgresql+asyncpg://u:p@h/d?prepared_statement_cache_size=500", "postgres://u:p@h/d?", false},
		{"postgresql+asyncpg://u:p@h/d?prepared_statement_cache_size=0", "postgres://u:p@h/d?", true},
		{"postgresql+asyncpg://u:p@h/d?statement_cache_size=0&command_timeout=5", "postgres://u:p@h/d?", true},
		{"postgresql+psycopg://u:p@h/d?prepare_threshold=0", "postgres://u:p@h/d?", false}, // psycopg: prepare at once
		{"postgresql+psycopg://u:p@h/d?prepare_threshold=None", "postgres://u:p@h/d?", true},
		{"postgresql+psycopg2://u:p@/d?host=/var/run/postgresql&connect_timeout=10", "postgres://u:p@/d?host=%2Fvar%2Frun%2Fpostgresql", false},
		{"postgres+psycopg2cffi://u:p@h/d", "postgres://u:p@h/d?", false},
		{"postgresql://u:p%40%2F%3F@h1:1,h2:2/d?target_session_attrs=read-write", "postgres://u:p%40%2F%3F@h1:1,h2:2/d?target_session_attrs=read-write", false},
		{"postgresql://u:p@h/d?application_name=a%20b&options=-c%20search_path%3Dx", "postgres://u:p@h/d?application_name=a%20b&options=-c%20search_path%3Dx", false},
		{"postgresql+psycopg2://u:p@/d?host=h1:5433&host=h2:5434", "postgres://u:p@/d?host=h1%2Ch2&port=5433%2C5434", false},
		{"postgresql+asyncpg://u:p@/d?host=h1&host=h2", "postgres://u:p@/d?host=h1%2Ch2&port=5432%2C5432", false},
		{"postgresql+asyncpg://u:p@/d?host=h1&host=h2&port=6000", "postgres://u:p@/d?host=h1%2Ch2&port=6000", false},
		{"postgresql+asyncpg://u:p@/d?host=h1:5433", "postgres://u:p@/d?host=h1&port=5433", false},
		{"postgresql://u:p@/d?host=::1", "postgres://u:p@/d?host=%3A%3A1", false},
		{"postgresql://u@h/d?password=a+b", "postgres://u@h/d?password=a%2Bb", false},

		{"", "is empty; write postgres://", false},
		{"host=h password=canary", "cannot be read", false},
		{"mysql://u:canary@h/d", "the scheme mysql:// is not known; use postgres://", false},
		{"Canary://u", "cannot be read", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=canary", "the value of ssl is not known", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=require&sslmode=disable", "ssl and sslmode disagree", false},
		{"postgresql://u:p@h/d?pool_maximum=3", "the parameter pool_maximum is not known; leave it out", false},
		{"postgresql://u:p@h/d?SSLMode=require", "the parameter SSLMode is not known; did you mean sslmode?", false},
		{"postgresql://u:p@h/d?PgBouncer=true", "the parameter PgBouncer is not known; did you mean pgbouncer?", false},
		{"postgresql://u:p@h/d?application-name=x", "the parameter application-name is not known; did you mean application_name?", false},
		{"postgresql://u@h/d?password=x&canary=1", "cannot be read", false}, // it may be a part of the password
		{"postgresql://u:p?canary=1@h/d", "cannot be read", false},
		{"postgresql://u:p?options[canary]=1@h/d", "cannot be read", false},
		{"jdbc:mysql://u:canary@h/d", "the scheme mysql:// is not known; use postgres://", false},
		{"jdbc:postgresql:canary", "cannot be read", false},
		{"jdbc:x:y:postgresql://u:canary@h/d", "cannot be read", false},
		{"postgresql+asyncpg://u:p@h/d?sslmode=require&sslmode=disable", "the parameter sslmode is given twice; keep one", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=require&ssl=disable", "the parameter ssl is given twice; keep one", false},
		{"postgresql://u:p@canary@h/d", "cannot be read", false},
		{"postgresql://u:a?CANARY@h/d", "cannot be read", false},
		{"postgresql://u:a#canary@h/d", "cannot be read", false},
		{"postgresql://u:p@h/d?%zz=canary", "cannot be read", false},
	} {
		parsed, err := readURL(tt.url)
		got := parsed.address
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != tt.want || err != nil && !strings.HasPrefix(got, tt.want) || parsed.unprepared != tt.unprepared {
			t.Errorf("readURL(%q) = %q, %v; want %q, %v", tt.url, got, parsed.unprepared, tt.want, tt.unprepared)
		}
		if err == nil {
			if _, err := pgxpool.ParseConfig(got); err != nil {
				t.Errorf("pgx cannot read %q: %v", got, err)
			}
		} else if strings.Contains(strings.ToLower(got), "canary") {
			t.Errorf("the error contains a secret: %s", got)
		}
	}
}

// TestParametersSurvive checks the parameters as pgx parses them.
func TestParametersSurvive(t *testing.T) {
	t.Parallel()
	parsed, err := readURL("postgresql+psycopg2://u:p@/d?host=h1:5433&host=h2:5434&options=-c%20search_path%3Da%2Bb&application_name=a+b")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.ParseConfig(parsed.address)
	if err != nil {
		t.Fatal(err)
	}
	c := pool.ConnConfig
	servers := fmt.Sprintf("%s:%d", c.Host, c.Port)
	for _, f := range c.Fallbacks {
		servers += fmt.Sprintf(" %s:%d", f.Host, f.Port)
	}
	for _, tt := range []struct{ got, want string }{
		{c.RuntimeParams["options"], "-c search_path=a+b"},
		{c.RuntimeParams["application_name"], "a b"},
		{servers, "h1:5433 h1:5433 h2:5434 h2:5434"}, // each with TLS, then without
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestPasswordsSurvive(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"a", "p@ss:w/or?d#%", " ", "ü", `'"\`, "a+b", "%41"} {
		parsed, err := readURL("postgresql+asyncpg://" + url.UserPassword("u", password).String() + "@h:5/d?ssl=require")
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgxpool.ParseConfig(parsed.address)
		if err != nil {
			t.Fatal(err)
		}
		if c.ConnConfig.Password != password {
			t.Errorf("password %q became %q", password, c.ConnConfig.Password)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want string
		c    Config
	}{
		{"directory.database_url: is empty", Config{}},
		{"directory.database_url: cannot be read", Config{DatabaseURL: "postgres://u:canary/x@h:nope/d"}},
		{"directory.database_url: cannot be read", Config{DatabaseURL: "postgres://u:can%zary@h/d"}},
		{"directory.database_url: sslmode cannot be used: sslmode is disable, allow,", Config{DatabaseURL: "postgres://u:canary@h/d?sslmode=canary"}},
		{"directory.database_url: sslmode, sslrootcert cannot be used:", Config{DatabaseURL: "postgres://u:canary@h/d?sslmode=verify-full&sslrootcert=/nonexistent/canary"}},
		{"directory.database_url: cannot be read", Config{DatabaseURL: "postgres://u:canary@h:nope/d?sslmode=require"}},
		{"directory.timeout: -1ns is negative", Config{DatabaseURL: "postgres://u:canary@h/d", Timeout: -1}},
		{"a pool of -1 connections", Config{DatabaseURL: "postgres://u:canary@h/d", MaxConns: -1}},
	} {
		d, err := New(tt.c)
		if d != nil || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("New(%+v) = %v, want %q", tt.c, err, tt.want)
		}
	}
}

// TestOtherProductsURLs reads the URLs of other libraries.
func TestOtherProductsURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url     string
		want    string // the parameters for pgx, or the error
		ignored string // and "unprepared"
	}{
		// Supabase, Prisma, Vercel and Neon
		{"postgresql://u:p@h:6543/d?pgbouncer=true&connection_limit=1", "", "unprepared connection_limit"},
		{"postgresql://u:p@h/d?schema=public&connection_limit=5&pool_timeout=10&socket_timeout=3", "search_path=public", "connection_limit pool_timeout socket_timeout"},
		{"postgresql://u:p@h/d?schema=My+Schema", "search_path=%22My%2BSchema%22", ""},
		{"postgresql://u:p@h/d?pgbouncer=false", "", ""},
		{"postgresql://u:p@h/d?sslmode=require&sslaccept=strict", "sslmode=verify-full", ""},
		{"postgresql://u:p@h/d?sslaccept=accept_invalid_certs&sslmode=require", "sslmode=require", ""},
		{"postgres://u:p@h/d?sslmode=require&supa=base-pooler.x", "sslmode=require", "supa"},
		{"postgres://u:p@h/d?options=endpoint%3Dep-1&channel_binding=require", "channel_binding=require&options=endpoint%3Dep-1", ""},
		// JDBC and R2DBC
		{"jdbc:postgresql://h:1,h2:2/d?user=u&password=a+b&prepareThreshold=0&currentSchema=app,public", "password=a%20b&search_path=app%2Cpublic&user=u", "unprepared"},
		{"jdbc:postgresql://h/d?prepareThreshold=5&ApplicationName=x&targetServerType=primary", "application_name=x&target_session_attrs=primary", ""},
		{"jdbc:postgresql://h/d?ssl=true", "sslmode=verify-full", ""},
		{"jdbc:postgresql://h/d?ssl=true&sslmode=require", "sslmode=require", ""},
		{"jdbc:postgresql://h/d?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory", "sslmode=require", ""},
		{"jdbc:postgresql://h/d?ssl=true&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory", "sslmode=verify-full", "sslfactory"},
		{"jdbc:postgresql://h/d?ssl=false", "sslmode=prefer", ""},
		{"jdbc:postgresql://h/d?preferQueryMode=simple&loginTimeout=3&reWriteBatchedInserts=true", "", "unprepared loginTimeout reWriteBatchedInserts"},
		{"jdbc:postgresql://h/d?targetServerType=preferSlave", "target_session_attrs=prefer-standby", ""},
		{"jdbc:aws-wrapper:postgresql://h/d", "", ""},
		{"r2dbc:pool:postgresql://u:p@h/d?initialSize=1&maxSize=5", "", "initialSize maxSize"},
		// SQLAlchemy, psycopg and asyncpg
		{"postgresql+psycopg2://u:p@h/d?sslmode=require&connect_timeout=10", "sslmode=require", "connect_timeout"},
		{"postgresql+asyncpg://u:p@h/d?ssl=verify-full&statement_cache_size=0&pool_size=5&max_overflow=10", "sslmode=verify-full", "unprepared max_overflow pool_size"},
		{"postgresql+asyncpg://u:p@h/d?sslmode=verify-full&ssl=true&direct_tls=true", "sslmode=verify-full&sslnegotiation=direct", ""},
		{"postgresql+psycopg://u:p@h/d?prepare_threshold=None", "", "unprepared"},
		{"postgresql+psycopg2://u:p@h/d?options=-c%20search_path%3Dx&client_encoding=utf8", "options=-c%20search_path%3Dx", ""},
		{"postgresql://u:p@h/d?hostaddr=10.0.0.1&gssencmode=disable", "", "hostaddr"},
		{"postgresql://u:p@/d?hostaddr=10.0.0.1", "host=10.0.0.1", ""},
		// Django, Rails, Ecto, CockroachDB, Doctrine
		{"postgis://u:p@h/d?conn_max_age=600", "", "conn_max_age"},
		{"postgresql://u:p@h/d?pool=5&prepared_statements=false&schema_search_path=app", "search_path=app", "unprepared pool"},
		{"ecto://u:p@h/d?ssl=true&pool_size=10&prepare=unnamed", "sslmode=require", "unprepared pool_size"},
		{"cockroachdb://u:p@h:26257/d?sslmode=verify-full&options=--cluster%3Dx", "options=--cluster%3Dx&sslmode=verify-full", ""},
		{"cockroachdb+asyncpg://u:p@h:26257/d", "", ""},
		{"postgresql://u:p@h/d?serverVersion=16&charset=utf8", "", "serverVersion"},
		{"postgresql://u:p@h/d?charset=latin1", "", "charset"},
		// Node, Go and Rust
		{"postgres://u:p@h/d?sslmode=no-verify&uselibpqcompat=true", "sslmode=require", "uselibpqcompat"},
		{"postgres://u:p@h/d?ssl=no-verify", "sslmode=require", ""},
		{"postgres://u:p@h/d?default_query_exec_mode=simple_protocol&pool_max_conns=4", "", "unprepared pool_max_conns"},
		{"postgres://u:p@h/d?binary_parameters=yes", "", "unprepared"},
		{"postgres://u:p@h/d?ssl-mode=require&statement-cache-capacity=0&options[search_path]=a+b", "options=-c%20search_path%3Da%2Bb&sslmode=require", "unprepared"},

		{"postgresql://u:p@h/d?pgbouncer=maybe", "the value of pgbouncer is not known; it is true, false", ""},
		{"postgresql://u:p@h/d?prepareThreshold=canary", "the value of prepareThreshold is not known; it is a number", ""},
		{"postgresql://u:p@h/d?schema=a&search_path=b", "schema and search_path disagree; leave one out", ""},
		{"postgresql://u:p@h/d?sslmode=require&ssl-mode=disable", "sslmode and ssl-mode disagree", ""},
		{"postgresql://u:p@h/d?sslaccept=canary", "the value of sslaccept is not known", ""},
		{"postgresql://u:p@h/d?sslcrl=/x", "the parameter sslcrl is not supported here, and a connection without it would be less safe", ""},
		{"postgresql://u:p@h/d?ssl_min_protocol_version=TLSv1.3", "the parameter ssl_min_protocol_version is not supported here", ""},
		{"jdbc:postgresql:///d?socketFactory=com.google.cloud.sql.postgres.SocketFactory", "the parameter socketFactory is not supported here; name the server", ""},
		{"postgresql://u:p@h/d?gssencmode=require", "the value of gssencmode is not supported; encryption is by TLS only", ""},
		{"postgresql://u:p@h/d?target_session_attrs=canary", "the value of target_session_attrs is not known; it is any, primary,", ""},
		{"postgresql://u:p@h/d?ssl=true&sslmode=prefer", "ssl and sslmode disagree", ""},
	} {
		parsed, err := readURL(tt.url)
		_, got, _ := strings.Cut(parsed.address, "?")
		if err != nil {
			if got = err.Error(); strings.Contains(got, "canary") || !strings.HasPrefix(got, tt.want) || tt.want == "" {
				t.Errorf("readURL(%q) = %q, want %q", tt.url, got, tt.want)
			}
			continue
		}
		ignored := parsed.ignored
		if parsed.unprepared {
			ignored = append([]string{"unprepared"}, ignored...)
		}
		if got != tt.want || strings.Join(ignored, " ") != tt.ignored {
			t.Errorf("readURL(%q) = %q, %q; want %q, %q", tt.url, got, ignored, tt.want, tt.ignored)
		}
		if err := (Config{DatabaseURL: tt.url, Standby: true}).Validate(); err != nil {
			t.Errorf("%s: %v", tt.url, err)
		}
	}
}

// TestWarnings has one line for all parameters without effect.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u:canary@h/d?pgbouncer=true":                                        "",
		"postgres://u:canary@h/d?pool_timeout=1&connection_limit=canary&max_overflow=3": "parameters of the URL without effect: connection_limit, max_overflow, pool_timeout; ",
		"nonsense": "",
	} {
		got := strings.Join(Config{DatabaseURL: url}.Warnings(), "\n")
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) || strings.Contains(got, "canary") || strings.Contains(got, "\n") {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// TestParameters checks the table: each name is there once, and README names it.
func TestParameters(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range parameters {
		for _, name := range group.names {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
			if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+name+"=") {
				t.Errorf("README does not name `%s`", name)
			}
		}
	}
}

// TestSockets reads the files of sockets as folders with a port.
func TestSockets(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u:p@/d?host=/run/pg/.s.PGSQL.5433":                  "/run/pg 5433",
		"postgres://u:p@%2Frun%2Fpg%2F.s.PGSQL.5433/d":                  "/run/pg 5433",
		"postgres://u:p@/d?host=/run/pg/.s.PGSQL.5433&port=5432":        "/run/pg 5433",
		"postgres://u:p@/d?host=/run/pg":                                "/run/pg 5432",
		"postgres://u:p@/d?host=/run/pg/.s.PGSQL.70000":                 "/run/pg/.s.PGSQL.70000 5432",
		"postgres://u:p@/d?host=/cloudsql/project:region:db":            "/cloudsql/project:region:db 5432",
		"postgres://u:p@/d?host=/a/.s.PGSQL.1,/b/.s.PGSQL.2":            "/a 1 /b 2",
		"postgres://u:p@/d?host=/cloudsql/p:r:db/.s.PGSQL.5432":         "/cloudsql/p:r:db 5432",
		"postgresql+psycopg2://u:p@/d?host=/a/.s.PGSQL.1&host=/b&port=": "/a 1 /b 5432",
	} {
		_, pool, err := Config{DatabaseURL: url}.target()
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		c := pool.ConnConfig
		got := fmt.Sprintf("%s %d", c.Host, c.Port)
		for _, f := range c.Fallbacks {
			got += fmt.Sprintf(" %s %d", f.Host, f.Port)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// TestTakeSettings moves settings from the startup parameters to the transactions.
func TestTakeSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ query, settings, options string }{
		{"currentSchema=app", "[{search_path app}]", ""},
		{"options=-c%20search_path%3Dapp", "[{search_path app}]", ""},
		{"options=-csearch_path%3Dapp%20-c%20work_mem%3D1MB", "[{search_path app}]", "-c work_mem=1MB"},
		{`options=--search_path%3Da%5C%20b%20--statement-timeout%3D5s`, "[{search_path a b} {statement_timeout 5s}]", ""},
		{"options=endpoint%3Dep-1", "[]", "endpoint=ep-1"},
		{"options=--cluster%3Dx&statement_timeout=3s", "[{statement_timeout 3s}]", "--cluster=x"},
		{`options=-c%20application_name%3Da%5C%20b`, "[]", `-c application_name=a\ b`},
		{"options=-c", "[]", "-c"},
		{"options=-c%20default_transaction_read_only%3Doff", "[]", "-c default_transaction_read_only=off"},
	} {
		target, pool, err := Config{DatabaseURL: "postgres://u:p@h/d?pgbouncer=true&" + tt.query}.target()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(target.settings); got != tt.settings || pool.ConnConfig.RuntimeParams["options"] != tt.options {
			t.Errorf("%s: %s and %q, want %s and %q", tt.query, got, pool.ConnConfig.RuntimeParams["options"], tt.settings, tt.options)
		}
	}
}

// TestServerKinds refuses a choice that cannot be served.
func TestServerKinds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind           string
		alone, standby bool // accepted without and with directory.standby
	}{
		{"any", true, true}, {"primary", true, true}, {"read-write", true, true}, {"prefer-standby", true, true},
		{"standby", false, true}, {"read-only", false, true},
	} {
		for standby, want := range map[bool]bool{false: tt.alone, true: tt.standby} {
			err := Config{DatabaseURL: "postgres://u:p@h/d?target_session_attrs=" + tt.kind, Standby: standby}.Validate()
			if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "directory.database_url: target_session_attrs asks for a standby") {
				t.Errorf("%s, standby: %v: %v", tt.kind, standby, err)
			}
		}
	}
}

func FuzzReadURL(f *testing.F) {
	f.Add("postgresql+asyncpg://u:p@h/d?ssl=require")                         // SQLAlchemy
	f.Add("postgres://u:p@/d?host=/tmp/.s.PGSQL.1")                           // a unix socket
	f.Add("postgres://u:p?a=b@h/d")                                           // a password that looks like a parameter
	f.Add("postgres://[::1]:5/d#x")                                           // a fragment
	f.Add("jdbc:postgresql://h,g/d?user=u&password=p&prepareThreshold=0&x=y") // Java
	f.Add("postgres://u@h/d?pgbouncer=true&options=-c%20role%3Dx%20-d%5C")    // a pooler
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := readURL(text)
		if (parsed.address == "") == (err == nil) {
			t.Errorf("readURL(%q) = %q, %v; want one of the two", text, parsed.address, err)
		}
		if err == nil && !strings.HasPrefix(parsed.address, "postgres://") {
			t.Errorf("readURL(%q) = %q", text, parsed.address)
		}
		_ = Config{DatabaseURL: text}.Warnings()
		// A word of its own stands in every place where a password may be.
		const secret = "qzxj"
		if strings.Contains(text, secret) {
			return
		}
		for _, place := range []string{
			"postgres://u:" + secret + text + "@h/d", "postgres://u:" + text + secret + "@h/d", "postgres://u:" + text + secret + text + "@h/d?sslmode=require",
			"jdbc:postgresql://h/d?password=" + secret + text, "postgres://h/d?user=u&password=" + text + secret, "postgresql+asyncpg://u:" + text + "&" + secret + "=@h",
		} {
			c := Config{DatabaseURL: place}
			if err := c.Validate(); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%q: the error has a part of the password: %v", place, err)
			}
			if said := strings.Join(c.Warnings(), " "); strings.Contains(said, secret) {
				t.Errorf("%q: the warning has a part of the password: %v", place, said)
			}
		}
	})
}
