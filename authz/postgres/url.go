package postgres

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

var errURL = errors.New("cannot be read; write postgres://user:password@host:port/database?sslmode=require, " +
	"and percent-encode special characters in the password")

var (
	// The schemes of libpq, Django's and Doctrine's URLs, Ecto and CockroachDB. The part after a
	// + is SQLAlchemy's name of a driver.
	schemeText = regexp.MustCompile(`^(?:postgres(?:ql)?|pgsql|psql|postgis|timescale(?:db|gis)?|cockroach(?:db)?|ecto|pdo-pgsql)(?:\+[a-z0-9_]+)?$`)
	// JDBC and R2DBC put their names before the scheme, with one of a wrapper or a pool.
	javaText      = regexp.MustCompile(`(?s)^(?:jdbc|r2dbc):(?:[a-z0-9-]+:)?([a-z]+://.*)$`)
	anyScheme     = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	parameterText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,40}$`)
	// sqlx writes settings of the server as options[name]=value.
	optionText = regexp.MustCompile(`^options\[([a-z_][a-z0-9_.]*)\]$`)
)

// A parsedURL is the configured URL as one for pgx.
type parsedURL struct {
	address string
	// unprepared reports whether the URL disables prepared statements, as applications do when a
	// pooler is in front of the database.
	unprepared bool
	// ignored are the parameters that have no effect, sorted.
	ignored []string
}

// A urlReader reads the parameters of a URL.
type urlReader struct {
	parsedURL

	java    bool
	hasHost bool
	params  url.Values
	from    map[string]string // the names in the URL, by the names in params
	tls     map[string]string
	options []string
}

// set sets a parameter for pgx. name is what the URL calls it.
func (r *urlReader) set(to, value, name string) error {
	if r.params.Has(to) && r.params.Get(to) != value {
		return fmt.Errorf("%s and %s disagree; leave one out", r.from[to], name)
	}
	r.params.Set(to, value)
	r.from[to] = name
	return nil
}

// readURL converts the URL into one for pgx.
func readURL(text string) (parsedURL, error) {
	if text == "" {
		return parsedURL{}, errors.New("is empty; write postgres://user:password@host:port/database")
	}
	r := &urlReader{params: url.Values{}, from: map[string]string{}, tls: map[string]string{}}
	if java := javaText.FindStringSubmatch(text); java != nil {
		text, r.java = java[1], true
	}
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case !found:
		return parsedURL{}, errURL
	case !schemeText.MatchString(scheme) && anyScheme.MatchString(scheme):
		return parsedURL{}, fmt.Errorf("the scheme %s:// is not known; use postgres:// or postgresql://", scheme)
	case !schemeText.MatchString(scheme) || strings.Contains(rest, "#"):
		return parsedURL{}, errURL
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	if strings.Count(authority, "@") > 1 {
		return parsedURL{}, errURL // the driver would take part of the password for the host
	}
	r.hasHost = authority != "" && !strings.HasSuffix(authority, "@")
	given, err := r.parse(scheme, query)
	if err != nil {
		return parsedURL{}, errURL
	}
	r.hasHost = r.hasHost || given.Has("host")
	// What looks like a parameter may be the rest of a password that is not encoded. Its name
	// must not be shown then.
	secretive := strings.Contains(query, "@") || given.Has("password") || given.Has("sslpassword")
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := r.use(name, given, secretive); err != nil {
			return parsedURL{}, err
		}
	}
	if err := r.finish(); err != nil {
		return parsedURL{}, err
	}
	// pgx does not decode a plus to a space.
	r.address = "postgres://" + rest + "?" + strings.ReplaceAll(r.params.Encode(), "+", "%20")
	return r.parsedURL, nil
}

// parse splits the query. SQLAlchemy and Java decode a plus to a space; libpq and pgx do not.
func (r *urlReader) parse(scheme, query string) (url.Values, error) {
	if !strings.Contains(scheme, "+") && !r.java {
		query = strings.ReplaceAll(query, "+", "%2B")
	}
	return url.ParseQuery(query)
}

// use takes one parameter over. secretive prevents that an error shows an unknown name.
func (r *urlReader) use(name string, given url.Values, secretive bool) error {
	values := given[name]
	group := parameter(name)
	option := optionText.FindStringSubmatch(name)
	switch {
	case name == "host" && (len(values) > 1 || hostPort.MatchString(values[0])):
		// SQLAlchemy's form for several servers: host=a:5432&host=b:5432.
		hosts, ports := splitHosts(values)
		if given.Get("port") == "" {
			r.params.Set("port", ports)
		}
		return r.set("host", hosts, name)
	case name == "port" && values[0] == "": // as if it were not there
		return nil
	case group != nil && len(values) > 1:
		return fmt.Errorf("the parameter %s is given twice; keep one", name)
	case group != nil:
		return group.use(r, name, values[0])
	case option != nil && !secretive:
		r.options = append(r.options, "-c "+option[1]+"="+escapeOption(values[0]))
		return nil
	case secretive || !parameterText.MatchString(name): // an unencoded password can look like a parameter
		return errURL
	}
	if similar := similarParameter(name); similar != "" {
		return fmt.Errorf("the parameter %s is not known; did you mean %s?", name, similar)
	}
	return fmt.Errorf("the parameter %s is not known; leave it out", name)
}

// finish sets the parameters that are made of several.
func (r *urlReader) finish() error {
	if len(r.options) > 0 {
		if r.params.Has("options") {
			r.options = append([]string{r.params.Get("options")}, r.options...)
		}
		r.params.Set("options", strings.Join(r.options, " "))
	}
	mode, err := r.sslMode()
	if err == nil && mode != "" {
		r.params.Set("sslmode", mode)
	}
	slices.Sort(r.ignored)
	return err
}

// sslMode returns the sslmode that the parameters about TLS mean together, or "".
func (r *urlReader) sslMode() (string, error) {
	mode := r.tls["sslmode"]
	if mode == "no-verify" { // node-postgres
		mode = "require"
	}
	if value, given := r.tls["ssl"]; given {
		ssl := r.ssl(value)
		switch {
		case ssl == "":
			return "", errors.New("the value of ssl is not known; use disable, allow, prefer, require, verify-ca or verify-full")
		case mode == "":
			mode = ssl
		case r.java: // for JDBC, sslmode wins
		case ssl == "require" && strings.HasPrefix(mode, "verify-") && truth(value) == "true": // ssl=true, and more
		case mode != ssl:
			return "", errors.New("ssl and sslmode disagree; leave one out")
		}
	}
	switch r.tls["sslaccept"] { // Prisma
	case "", "accept_invalid_certs":
	case "strict":
		if mode != "disable" {
			mode = "verify-full"
		}
	default:
		return "", errors.New("the value of sslaccept is not known; it is strict or accept_invalid_certs")
	}
	if _, given := r.tls["sslfactory"]; given && !r.unverified() {
		r.ignored = append(r.ignored, "sslfactory")
	}
	return mode, nil
}

// unverified reports whether the URL names JDBC's way to accept any certificate.
func (r *urlReader) unverified() bool {
	return r.tls["sslfactory"] == "org.postgresql.ssl.NonValidatingFactory"
}

// ssl converts the value of the parameter ssl to an sslmode, or returns "". asyncpg takes the
// values of sslmode; for JDBC true means verify-full, for others it means require.
func (r *urlReader) ssl(value string) string {
	switch value {
	case "disable", "allow", "prefer", "require", "verify-ca", "verify-full":
		return value
	case "no-verify":
		return "require"
	}
	switch yes := truth(value); {
	case r.java && (yes == "true" || value == "") && !r.unverified():
		return "verify-full"
	case yes == "true" || r.java && value == "":
		return "require"
	case yes == "false" && r.java:
		return "prefer"
	case yes == "false":
		return "disable"
	}
	return ""
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
