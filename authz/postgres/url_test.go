package postgres

import (
	"fmt"
	"net/url"
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
		{"postgresql://u:p@h/d?pool_max_conns=3", "the parameter pool_max_conns is not known", false},
		{"postgresql+asyncpg://u:p@h/d?sslmode=require&sslmode=disable", "the parameter sslmode is given twice; keep one", false},
		{"postgresql+asyncpg://u:p@h/d?ssl=require&ssl=disable", "the parameter ssl is given twice; keep one", false},
		{"postgresql://u:p@canary@h/d", "cannot be read", false},
		{"postgresql://u:a?CANARY@h/d", "cannot be read", false},
		{"postgresql://u:a#canary@h/d", "cannot be read", false},
		{"postgresql://u:p@h/d?%zz=canary", "cannot be read", false},
	} {
		got, unprepared, err := readURL(tt.url)
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != tt.want || err != nil && !strings.HasPrefix(got, tt.want) || unprepared != tt.unprepared {
			t.Errorf("readURL(%q) = %q, %v; want %q, %v", tt.url, got, unprepared, tt.want, tt.unprepared)
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
	address, _, err := readURL("postgresql+psycopg2://u:p@/d?host=h1:5433&host=h2:5434&options=-c%20search_path%3Da%2Bb&application_name=a+b")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.ParseConfig(address)
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
		address, _, err := readURL("postgresql+asyncpg://" + url.UserPassword("u", password).String() + "@h:5/d?ssl=require")
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgxpool.ParseConfig(address)
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

func FuzzReadURL(f *testing.F) {
	f.Add("postgresql+asyncpg://u:p@h/d?ssl=require") // SQLAlchemy
	f.Add("postgres://u:p@/d?host=/tmp")              // a unix socket
	f.Add("postgres://u:p?a=b@h/d")                   // a password that looks like a parameter
	f.Add("postgres://[::1]:5/d#x")                   // a fragment
	f.Fuzz(func(t *testing.T, text string) {
		address, _, err := readURL(text)
		if (address == "") == (err == nil) {
			t.Errorf("readURL(%q) = %q, %v; want one of the two", text, address, err)
		}
		if err == nil && !strings.HasPrefix(address, "postgres://") {
			t.Errorf("readURL(%q) = %q", text, address)
		}
	})
}
