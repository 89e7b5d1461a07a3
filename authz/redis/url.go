package redis

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A location is what a URL says: where the servers are, and how to log in to them.
type location struct {
	socket     bool
	address    string // the path of a socket
	servers    []server
	among      deployment
	tls        bool
	username   string
	password   string
	database   int
	numbered   bool // the URL says which database
	clientName string

	// Of Sentinels.
	primary                            string // the name that they have for the primary
	sentinelUsername, sentinelPassword string

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

// A server is where a URL says that one listens.
type server struct {
	host string // a name or an IP address
	port uint16
}

// addresses returns what to connect to.
func (l *location) addresses() []string {
	if l.socket {
		return []string{l.address}
	}
	all := make([]string, len(l.servers))
	for i, s := range l.servers {
		all[i] = net.JoinHostPort(s.host, strconv.Itoa(int(s.port)))
	}
	return all
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

const (
	defaultPort         = 6379
	defaultSentinelPort = 26379
	maxServers          = 100
)

var (
	// severalText is a scheme of Sentinels or of a cluster: redis+sentinel, rediss-cluster,
	// sentinel, valkey+tls+sentinel.
	severalText   = regexp.MustCompile(`^(?:(?:redis|rediss|valkey|valkeys|tcp|tls|ssl)[+-])*(sentinel|cluster)(?:[+-](?:tcp|tls|ssl))?$`)
	primaryText   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`) // as Sentinels accept it
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

	errNamesSentinels = errors.New("has a parameter that names Sentinels in a form that is not known; write redis+sentinel://host:26379,host:26379/NAME/0, " +
		"with the NAME that the Sentinels have for the primary")
	errNamesSeveral = errors.New("names several hosts, and not what they are; write redis+sentinel://host:26379,host:26379/NAME/0 for Sentinels, " +
		"redis+cluster://host:6379,host:6379 for a cluster, or only the primary otherwise")
	errMany    = fmt.Errorf("names more than %d servers; some of them are enough", maxServers)
	errPrimary = unreadable("it has no valid name of the primary that the Sentinels watch: write it after the hosts, as in redis+sentinel://host:26379/mymaster/0")
	errSchemes = errors.New("has several URLs that differ in more than their hosts; write redis+sentinel://host:26379,host:26379/mymaster/0")
)

func unreadable(why string) error { return errors.New("cannot be read: " + why) }

// readURL reads a URL in one of the spellings that clients use:
//
//	redis://[user:password@]host[:port][/database][?parameters]   also valkey://
//	rediss://…  valkeys://…  redis+ssl://…                         with TLS
//	unix://[user:password@]/path/to/socket[?db=database]           also redis+unix://, redis+socket://
//	host:port[/database]  /path/to/socket                          without a scheme
//
// Of Sentinels and of a cluster:
//
//	redis+sentinel://[user:password@]host[:port],…/name[/database]  also sentinel://…;sentinel://…
//	redis-sentinel://[user:password@]host[:port],…[/database]#name
//	redis://[user:password@]host[:port]?master_name=name&addr=host:port  user and password of the Sentinels
//	redis+cluster://[user:password@]host[:port],…  redis://host[:port]?addr=host:port
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
	text, err := joinURLs(text)
	if err != nil {
		return nil, err
	}
	over, among, rest, err := splitScheme(text)
	if err != nil {
		return nil, err
	}
	l := &location{socket: over == socket, tls: over == tcpTLS, among: among}
	rest, fragment, found := strings.Cut(rest, "#")
	if found && (among != bySentinels || !primaryText.MatchString(fragment)) {
		return nil, errHash
	}
	l.primary = fragment
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") {
		return nil, errAt
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	parameters, err := splitParameters(query)
	if err != nil {
		return nil, err
	}
	username, password := &l.username, &l.password
	switch {
	case l.socket || l.among != oneServer:
	case namesPrimary(parameters):
		// The form of go-redis, in which the user before the host is that of the Sentinels.
		l.among, username, password = bySentinels, &l.sentinelUsername, &l.sentinelPassword
	case namesCluster(parameters):
		l.among = inCluster
	}
	host := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		host = authority[i+1:]
		if err := readUser(authority[:i], username, password); err != nil {
			return nil, err
		}
	}
	if l.socket {
		err = l.readSocket(host + path)
	} else {
		err = l.readServers(host, path)
	}
	if err == nil {
		err = l.readParameters(parameters)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// joinURLs makes one URL of several ones with a semicolon between, as Celery has them for
// Sentinels. All but the hosts is the same in all that have it.
func joinURLs(text string) (string, error) {
	if !strings.Contains(text, ";") {
		return text, nil
	}
	first := ""
	var users, hosts, paths, queries []string
	for part := range strings.SplitSeq(text, ";") {
		if part == "" {
			continue
		}
		scheme, rest, found := strings.Cut(part, "://")
		if first == "" {
			first = strings.ToLower(scheme)
		}
		switch is := severalText.FindStringSubmatch(strings.ToLower(scheme)); {
		case len(hosts) == 0 && (!found || is == nil):
			return text, nil // a semicolon of a password
		case !strings.EqualFold(scheme, first):
			return "", errSchemes
		}
		rest, query, _ := strings.Cut(rest, "?")
		host, path, _ := strings.Cut(rest, "/")
		user := ""
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			user, host = host[:i+1], host[i+1:]
		}
		users, hosts, paths, queries = append(users, user), append(hosts, host), append(paths, path), append(queries, query)
	}
	user, sameUser := theOnly(users)
	path, samePath := theOnly(paths)
	query, sameQuery := theOnly(queries)
	if !sameUser || !samePath || !sameQuery {
		return "", errSchemes
	}
	return first + "://" + user + strings.Join(hosts, ",") + "/" + path + "?" + query, nil
}

// theOnly returns the text that all have that are not empty. It reports false if two differ.
func theOnly(texts []string) (text string, same bool) {
	for _, t := range texts {
		switch {
		case t == "" || t == text:
		case text != "":
			return "", false
		default:
			text = t
		}
	}
	return text, true
}

// isBlank reports whether r is white space or invisible.
func isBlank(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// splitScheme returns what the scheme stands for, and what follows it. A text without a scheme
// is the address of a server, or the path of a socket.
func splitScheme(text string) (over transport, among deployment, rest string, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !found {
		// unix:/path is a URL too.
		if scheme, rest, found := strings.Cut(text, ":/"); found && schemes[strings.ToLower(scheme)] == socket {
			return socket, oneServer, "/" + rest, nil
		}
		switch {
		case text[0] == '/':
			return socket, oneServer, text, nil
		case netSettings.MatchString(text):
			return 0, 0, "", errDotNet
		case !strings.ContainsAny(text, ".:/[") && text != "localhost":
			// One word may be a secret in the wrong place, which must not be looked up as a host.
			return 0, 0, "", errURL
		}
		return tcp, oneServer, text, nil
	}
	over, known := schemes[scheme]
	switch several := severalText.FindStringSubmatch(scheme); {
	case known:
		return over, oneServer, rest, nil
	case several != nil:
		for _, secured := range []string{"rediss", "valkeys", "tls", "ssl"} {
			if slices.Contains(strings.FieldsFunc(scheme, func(r rune) bool { return r == '+' || r == '-' }), secured) {
				over = tcpTLS
			}
		}
		if several[1] == "sentinel" {
			return over, bySentinels, rest, nil
		}
		return over, inCluster, rest, nil
	case !schemeText.MatchString(scheme):
		return 0, 0, "", errURL
	case strings.Contains(scheme, "sentinel"):
		return 0, 0, "", fmt.Errorf("the scheme %s:// is not known; write redis+sentinel:// for Sentinels, or rediss+sentinel:// with TLS", scheme)
	case strings.Contains(scheme, "cluster"):
		return 0, 0, "", fmt.Errorf("the scheme %s:// is not known; write redis+cluster:// for a cluster, or rediss+cluster:// with TLS", scheme)
	}
	return 0, 0, "", fmt.Errorf("the scheme %s:// is not known; use redis://, rediss:// or unix://", scheme)
}

// readUser reads the user and the password before the host.
func readUser(text string, username, password *string) error {
	user, secret, _ := strings.Cut(text, ":")
	var err error
	if *username, err = decode(user); err == nil {
		*password, err = decode(secret)
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

// readServers reads hosts, of which the first is localhost by default, ports and what follows.
func (l *location) readServers(hosts, path string) error {
	switch {
	case strings.Contains(path, "@"):
		return errAt
	case l.among == oneServer && strings.Contains(hosts, ","):
		return errNamesSeveral
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" && hosts != "" {
			continue // a comma at the end
		}
		if err := l.readHost(host); err != nil {
			return err
		}
	}
	if path = strings.Trim(path, "/"); path == "" {
		return nil
	}
	if l.among != bySentinels {
		return l.readDatabase(path)
	}
	return l.readNamed(path)
}

// readNamed reads the name of the primary and the number of the database, of which each may be
// absent. A number alone is that of the database.
func (l *location) readNamed(path string) error {
	first, second, two := strings.Cut(path, "/")
	switch {
	case !two && databaseText.MatchString(first):
		return l.readDatabase(first)
	case !primaryText.MatchString(first):
		return errPrimary
	}
	if err := l.setPrimary(first); err != nil || !two {
		return err
	}
	return l.readDatabase(second)
}

func (l *location) setPrimary(name string) error {
	if l.primary != "" && l.primary != name {
		return errors.New("has two names of the primary that Sentinels watch; keep one of the two")
	}
	l.primary = name
	return nil
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
	to := server{cmp.Or(host, "localhost"), defaultPort}
	if l.among == bySentinels {
		to.port = defaultSentinelPort
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return errPort
		}
		to.port = uint16(n)
	}
	if !slices.Contains(l.servers, to) {
		l.servers = append(l.servers, to)
	}
	if len(l.servers) > maxServers {
		return errMany
	}
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
