package redis

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A location is what a URL says: where the server is, and how to log in to it.
type location struct {
	socket     bool
	address    string // the path of a socket, or a host name or IP address
	port       uint16
	tls        bool
	username   string
	password   string
	database   int
	numbered   bool // the URL says which database
	clientName string

	// poolSize is the number of connections, and maxConns an upper limit of it. 0 means that
	// the URL does not say.
	poolSize, maxConns       int
	maxIdleTime, maxLifetime time.Duration

	files TLS // without a server name
	// skipVerify accepts any certificate.
	skipVerify bool

	// ignored are the parameters without an effect. verified are those that ask not to verify
	// the server's certificate, which is verified all the same.
	ignored, verified []string
}

// A transport is what a scheme stands for.
type transport int

const (
	tcp transport = iota
	tcpTLS
	socket
)

// schemes are the schemes that clients and servers use, in lower case.
var schemes = map[string]transport{
	"redis": tcp, "valkey": tcp, "redis+tcp": tcp, "valkey+tcp": tcp, "tcp": tcp,
	"rediss": tcpTLS, "valkeys": tcpTLS, "redis+ssl": tcpTLS, "redis+tls": tcpTLS, "valkey+ssl": tcpTLS, "valkey+tls": tcpTLS,
	"rediss+ssl": tcpTLS, "rediss+tls": tcpTLS, "rediss+tcp": tcpTLS, "valkeys+tcp": tcpTLS, "tls": tcpTLS, "ssl": tcpTLS,
	"unix": socket, "redis+unix": socket, "valkey+unix": socket, "redis+socket": socket, "redis-socket": socket, "valkey+socket": socket,
	"unix+redis": socket, "socket": socket,
}

const defaultPort = 6379

var (
	schemeText    = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	parameterText = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,39}$`)
	hostText      = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
	databaseText  = regexp.MustCompile(`^[0-9]{1,9}$`)
	netSettings   = regexp.MustCompile(`(?i),\s*[a-z]+\s*=`)
)

// maxSocketPath is the greatest length of a path in sockaddr_un on Linux.
const maxSocketPath = 107

// The errors are fixed texts, because any part of the URL may be the password: a URL whose
// special characters are not encoded is read in the wrong places.
var (
	errURL = errors.New("cannot be read; write redis://[user:password@]host[:port][/database], rediss:// for TLS, " +
		"or unix:///path/to/socket, and percent-encode special characters in a password")
	errEmpty   = errors.New("is empty; write redis://host:6379/0")
	errSpace   = unreadable("it contains white space or a control character; remove it, or percent-encode it in a password (%20 for a space)")
	errQuoted  = unreadable("it begins with a quotation mark, which not every reader of variables removes; leave quotation marks out")
	errEncoded = unreadable("it has a control character in percent-encoding, such as %0A for a newline; was a newline at the end of a password encoded? Remove it")
	errPercent = unreadable("it has a % without two hexadecimal digits after it; write %25 for a % in a password")
	errHash    = unreadable("it has a #; write %23 for a # in a password, and leave other fragments out")
	errAt      = unreadable("it has an @ after its host; percent-encode special characters in a password: %2F for /, %3F for ?, %40 for @")
	errHost    = unreadable("it has no valid host: write a host name, an IPv4 address, or an IPv6 address in brackets, as in redis://[2001:db8::1]:6379/0; " +
		"in a password, percent-encode special characters")
	errPort     = unreadable("it has no valid port: write a number from 1 to 65535, as in redis://host:6379/0; in a password, percent-encode special characters")
	errDatabase = unreadable("it has no valid database: write its number, as in redis://host:6379/0")
	errSocket   = unreadable("it has no valid path of a socket: write an absolute one of at most 107 bytes, with three slashes, as in unix:///run/redis/redis.sock")
	errDotNet   = unreadable("it is a connection string with settings after commas; write a URL: rediss://:password@host:6380/0 for ssl=True, and redis://:password@host:6379/0 otherwise")

	errNamesSentinels = errors.New("names Sentinels, which are not supported yet; name the primary, as in redis://host:6379/0")
	errNamesCluster   = errors.New("names a Redis Cluster, which is not supported yet; name a server that has all sessions, as in redis://host:6379/0")
	errNamesSeveral   = errors.New("names several hosts, a Cluster or Sentinels, which are not supported yet; name the primary, as in redis://host:6379/0")
)

func unreadable(why string) error { return errors.New("cannot be read: " + why) }

// readURL reads a URL in one of the spellings that clients use:
//
//	redis://[user:password@]host[:port][/database][?parameters]   also valkey://
//	rediss://…  valkeys://…  redis+ssl://…                         with TLS
//	unix://[user:password@]/path/to/socket[?db=database]           also redis+unix://, redis+socket://
//	host:port[/database]  /path/to/socket                          without a scheme
//
// No error contains a part of the URL, except the names of a scheme and of parameters.
func readURL(text string) (*location, error) {
	switch {
	case text == "":
		return nil, errEmpty
	case strings.ContainsFunc(text, isBlank):
		return nil, errSpace
	case strings.ContainsAny(text[:1], `"'`):
		return nil, errQuoted
	}
	over, rest, err := splitScheme(text)
	if err != nil {
		return nil, err
	}
	if strings.Contains(rest, "#") {
		return nil, errHash
	}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") {
		return nil, errAt
	}
	l := &location{socket: over == socket, tls: over == tcpTLS}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	host := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		host = authority[i+1:]
		if err := l.readUser(authority[:i]); err != nil {
			return nil, err
		}
	}
	if l.socket {
		err = l.readSocket(host + path)
	} else {
		err = l.readServer(host, path)
	}
	if err == nil {
		err = l.readParameters(query)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// isBlank reports whether r is white space or invisible.
func isBlank(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// splitScheme returns what the scheme stands for, and what follows it. A text without a scheme
// is the address of a server, or the path of a socket.
func splitScheme(text string) (over transport, rest string, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !found {
		// unix:/path is a URL too.
		if scheme, rest, found := strings.Cut(text, ":/"); found && schemes[strings.ToLower(scheme)] == socket {
			return socket, "/" + rest, nil
		}
		switch {
		case text[0] == '/':
			return socket, text, nil
		case netSettings.MatchString(text):
			return 0, "", errDotNet
		case !strings.ContainsAny(text, ".:/[") && text != "localhost":
			// One word may be a secret in the wrong place, which must not be looked up as a host.
			return 0, "", errURL
		}
		return tcp, text, nil
	}
	over, known := schemes[scheme]
	switch {
	case known:
		return over, rest, nil
	case !schemeText.MatchString(scheme):
		return 0, "", errURL
	case strings.Contains(scheme, "sentinel"):
		return 0, "", fmt.Errorf("the scheme %s:// is not known: it %w", scheme, errNamesSentinels)
	case strings.Contains(scheme, "cluster"):
		return 0, "", fmt.Errorf("the scheme %s:// is not known: it %w", scheme, errNamesCluster)
	}
	return 0, "", fmt.Errorf("the scheme %s:// is not known; use redis://, rediss:// or unix://", scheme)
}

// readUser reads the user and the password before the host.
func (l *location) readUser(text string) error {
	user, password, _ := strings.Cut(text, ":")
	var err error
	if l.username, err = decode(user); err == nil {
		l.password, err = decode(password)
	}
	return err
}

// decode decodes percent-encoding.
func decode(text string) (string, error) {
	decoded, err := url.PathUnescape(text)
	switch {
	case err != nil:
		return "", errPercent
	case strings.ContainsFunc(decoded, unicode.IsControl):
		return "", errEncoded
	}
	return decoded, nil
}

// readSocket reads the path of a socket. Some clients encode its slashes.
func (l *location) readSocket(text string) error {
	path, err := decode(text)
	switch {
	case err != nil:
		return err
	case strings.Trim(path, "/") == "" || path[0] != '/' || len(path) > maxSocketPath || !utf8.ValidString(path):
		return errSocket
	}
	l.address = path
	return nil
}

// readServer reads a host, which is localhost by default, a port and a database.
func (l *location) readServer(hostPort, path string) error {
	switch {
	case strings.Contains(path, "@"):
		return errAt
	case strings.Contains(hostPort, ","):
		return errNamesSeveral
	}
	if err := l.readHost(hostPort); err != nil {
		return err
	}
	if path = strings.Trim(path, "/"); path == "" {
		return nil
	}
	return l.readDatabase(path)
}

func (l *location) readHost(hostPort string) error {
	host, port := hostPort, ""
	if closing := strings.LastIndexByte(hostPort, ']'); strings.LastIndexByte(hostPort, ':') > closing {
		i := strings.LastIndexByte(hostPort, ':')
		host, port = hostPort[:i], hostPort[i+1:]
	}
	inner, opened := strings.CutPrefix(host, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if opened || closed {
		host = strings.ReplaceAll(inner, "%25", "%") // RFC 6874: before the zone of an address
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() || opened != closed {
			return errHost
		}
	} else if host != "" && (len(host) > 253 || !hostText.MatchString(host)) {
		return errHost
	}
	l.address, l.port = host, defaultPort
	if host == "" {
		l.address = "localhost"
	}
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return errPort
	}
	l.port = uint16(n)
	return nil
}

func (l *location) readDatabase(text string) error {
	if !databaseText.MatchString(text) {
		return errDatabase
	}
	number, _ := strconv.Atoi(text) // nine digits at most
	if l.numbered && l.database != number {
		return fmt.Errorf("names database %d in its path and database %d in a parameter; keep one of the two", l.database, number)
	}
	l.database, l.numbered = number, true
	return nil
}
