package redis

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// show writes a location as one URL, with what has an effect.
func (l *location) show() string {
	var hosts []string
	for _, s := range l.servers {
		hosts = append(hosts, fmt.Sprintf("%s:%d", s.host, s.port))
	}
	u := url.URL{Scheme: "tcp", Host: strings.Join(hosts, ","), Path: fmt.Sprintf("/%d", l.database)}
	if l.tls {
		u.Scheme = "tls"
	}
	if l.socket {
		u.Scheme, u.Host, u.Path = "unix", "", fmt.Sprintf("%s(%d)", l.address, l.database)
	}
	text := u.Scheme + "://" + u.Host + u.Path
	if l.among == inCluster {
		text = "cluster " + text
	}
	for _, more := range []struct{ name, value string }{
		{"user", l.username}, {"password", l.password}, {"name", l.clientName},
		{"primary", l.primary}, {"sentinel_user", l.sentinelUsername}, {"sentinel_password", l.sentinelPassword},
		{"ca", l.files.CAFile}, {"cert", l.files.CertFile}, {"key", l.files.KeyFile},
	} {
		if more.value != "" {
			text += " " + more.name + "=" + more.value
		}
	}
	if l.poolSize != 0 {
		text += fmt.Sprintf(" pool=%d", l.poolSize)
	}
	if l.maxConns != 0 {
		text += fmt.Sprintf(" max=%d", l.maxConns)
	}
	if l.maxIdleTime != 0 || l.maxLifetime != 0 {
		text += fmt.Sprintf(" idle=%v lifetime=%v", l.maxIdleTime, l.maxLifetime)
	}
	if l.skipVerify {
		text += " skip_verify"
	}
	if len(l.ignored) > 0 {
		text += " ignored=" + strings.Join(l.ignored, ",")
	}
	if len(l.verified) > 0 {
		text += " verified=" + strings.Join(l.verified, ",")
	}
	return text
}

// TestReadURL reads URLs as clients write them.
func TestReadURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		// Schemes.
		{"redis://h:6379/0", "tcp://h:6379/0"},
		{"REDIS://h", "tcp://h:6379/0"},
		{"valkey://h:7000/3", "tcp://h:7000/3"},
		{"redis+tcp://h", "tcp://h:6379/0"},
		{"tcp://10.0.0.1:6379", "tcp://10.0.0.1:6379/0"}, // Predis, and REDIS_PORT of Docker and Kubernetes
		{"rediss://h:6380/0", "tls://h:6380/0"},
		{"valkeys://h", "tls://h:6379/0"},
		{"redis+ssl://h", "tls://h:6379/0"},
		{"redis+tls://h", "tls://h:6379/0"},
		{"rediss+tcp://h", "tls://h:6379/0"},
		{"tls://h:6380", "tls://h:6380/0"},
		{"unix:///run/redis.sock", "unix:///run/redis.sock(0)"},
		{"unix:/run/redis.sock", "unix:///run/redis.sock(0)"},
		{"redis+unix:///run/redis.sock?db=2", "unix:///run/redis.sock(2)"},
		{"redis+socket:///run/redis.sock?virtual_host=/3", "unix:///run/redis.sock(3)"},
		{"redis-socket://u:p@/run/redis.sock?database=4&timeout=10s", "unix:///run/redis.sock(4) user=u password=p ignored=timeout"},
		{"valkey+unix://:p@/run/redis@6379.sock", "unix:///run/redis@6379.sock(0) password=p"},
		{"unix://%2Frun%2Fredis.sock", "unix:///run/redis.sock(0)"},
		{"/run/redis.sock", "unix:///run/redis.sock(0)"},
		// Without a scheme.
		{"h:6379", "tcp://h:6379/0"},
		{"h:6379/2", "tcp://h:6379/2"},
		{"h/2", "tcp://h:6379/2"},
		{"redis:6379", "tcp://redis:6379/0"},
		{"redis.example.com", "tcp://redis.example.com:6379/0"},
		{"127.0.0.1", "tcp://127.0.0.1:6379/0"},
		{"localhost", "tcp://localhost:6379/0"},
		{":6379", "tcp://localhost:6379/0"},
		{"[::1]", "tcp://::1:6379/0"},
		{"[::1]:7000/1", "tcp://::1:7000/1"},
		{"u:p@h:6379/1", "tcp://h:6379/1 user=u password=p"},
		{":p@h", "tcp://h:6379/0 password=p"},
		// Hosts, ports and databases.
		{"redis://", "tcp://localhost:6379/0"},
		{"redis:///5", "tcp://localhost:6379/5"},
		{"redis://h:", "tcp://h:6379/0"},
		{"redis://h/", "tcp://h:6379/0"},
		{"redis://h/0/", "tcp://h:6379/0"},
		{"redis://h/99", "tcp://h:6379/99"},
		{"redis://h?db=3", "tcp://h:6379/3"},
		{"redis://h/?db=3", "tcp://h:6379/3"},
		{"redis://h/3?db=3", "tcp://h:6379/3"},
		{"redis://h/3?db=", "tcp://h:6379/3"},
		{"redis://my_redis-0.redis.svc.cluster.local.:6379", "tcp://my_redis-0.redis.svc.cluster.local.:6379/0"},
		{"redis://[2001:db8::1]:6380/1", "tcp://2001:db8::1:6380/1"},
		{"redis://[2001:db8::1]", "tcp://2001:db8::1:6379/0"},
		{"redis://[fe80::1%25eth0]:6379", "tcp://fe80::1%eth0:6379/0"},
		{"redis://[fe80::1%eth0]:6379", "tcp://fe80::1%eth0:6379/0"},
		// Users and passwords.
		{"redis://:@h", "tcp://h:6379/0"},
		{"redis://@h", "tcp://h:6379/0"},
		{"redis://u@h", "tcp://h:6379/0 user=u"},
		{"redis://:p@h", "tcp://h:6379/0 password=p"},
		{"redis://u:p@[::1]:6379/0", "tcp://::1:6379/0 user=u password=p"},
		{"redis://u%40x:p%3Aa%2Fb%3Fc%23d%40e%25f%20g%5B%5D@h", "tcp://h:6379/0 user=u@x password=p:a/b?c#d@e%f g[]"},
		{"redis://:a:b@h", "tcp://h:6379/0 password=a:b"},
		{"redis://:a@b@h", "tcp://h:6379/0 password=a@b"},
		{`redis://:a+b^{c}|<d>\"e"$&*()!,;='~[f]@h`, `tcp://h:6379/0 password=a+b^{c}|<d>\"e"$&*()!,;='~[f]`},
		{"redis://:pä%C3%9F@h", "tcp://h:6379/0 password=päß"},
		{"redis://:0%31@h", "tcp://h:6379/0 password=01"},
		{"redis://h?username=u&password=a%2Bb%26c", "tcp://h:6379/0 user=u password=a+b&c"},
		{"redis+unix:///s.sock?user=u&pass=p", "unix:///s.sock(0) user=u password=p"},
		// Parameters with an effect.
		{"redis://h?client_name=app&clientName=", "tcp://h:6379/0 name=app"},
		{"redis://h?pool_size=4", "tcp://h:6379/0 pool=4"},
		{"redis://h?max_connections=20", "tcp://h:6379/0 max=20"},
		{"redis://h?max_connections=2147483648", "tcp://h:6379/0 max=10000"},
		{"redis://h?max_connections=None", "tcp://h:6379/0"},
		{"redis://h?max_connections=0&pool_size=-1", "tcp://h:6379/0"},
		{"redis://h?conn_max_idle_time=30&conn_max_lifetime=5m", "tcp://h:6379/0 idle=30s lifetime=5m0s"},
		{"redis://h?idle_timeout=0&max_conn_age=-1s", "tcp://h:6379/0 idle=-1ns lifetime=-1ns"},
		// TLS.
		{"redis://h?ssl=true", "tls://h:6379/0"},
		{"redis://h?tls=1", "tls://h:6379/0"},
		{"redis://h?ssl=False", "tcp://h:6379/0"},
		{"rediss://h?ssl=True", "tls://h:6379/0"},
		{"rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem", "tls://h:6379/0 ca=/ca.pem cert=/c.pem key=/k.pem"},
		{"rediss://h?ssl_cert_reqs=required&ssl_check_hostname=true", "tls://h:6379/0"},
		{"rediss://h?ssl_cert_reqs=CERT_REQUIRED", "tls://h:6379/0"},
		{"rediss://h?ssl_cert_reqs=optional", "tls://h:6379/0"},
		{"rediss://h?ssl_cert_reqs=none", "tls://h:6379/0 verified=ssl_cert_reqs"},
		{"rediss://h?ssl_cert_reqs=CERT_NONE&ssl_check_hostname=False", "tls://h:6379/0 verified=ssl_cert_reqs,ssl_check_hostname"},
		{"rediss://h?ssl_cert_reqs=ssl.CERT_NONE", "tls://h:6379/0 verified=ssl_cert_reqs"},
		{"rediss://h?verifyPeer=CA", "tls://h:6379/0 verified=verifyPeer"},
		{"rediss://h?rejectUnauthorized=false", "tls://h:6379/0 verified=rejectUnauthorized"},
		{"rediss://h?skip_verify=true", "tls://h:6379/0 skip_verify"},
		{"rediss://h?skip_verify=false", "tls://h:6379/0"},
		// Ignored, in the spellings of several clients.
		{
			"redis://h?health_check_interval=30&socket_timeout=5&socket_connect_timeout=5&decode_responses=True&protocol=3&retry_on_timeout=true",
			"tcp://h:6379/0 ignored=health_check_interval,socket_timeout,socket_connect_timeout,decode_responses,protocol,retry_on_timeout",
		},
		{"redis://h?connectTimeout=10000&readOnly=true&min_idle_conns=2", "tcp://h:6379/0 ignored=connectTimeout,readOnly,min_idle_conns"},
		{"redis://h?visibility_timeout=3600&fanout_prefix=true", "tcp://h:6379/0 ignored=visibility_timeout,fanout_prefix"},
		{"redis://h?", "tcp://h:6379/0"},
		// Sentinels.
		{"redis+sentinel://u:p@a:26379,b:26380,c/main/3", "tcp://a:26379,b:26380,c:26379/3 user=u password=p primary=main"},
		{"rediss+sentinel://a/main", "tls://a:26379/0 primary=main"},
		{"redis+ssl+sentinel://a/main", "tls://a:26379/0 primary=main"},
		{"valkey+sentinel://a/main", "tcp://a:26379/0 primary=main"},
		{"valkeys-sentinel://a/main", "tls://a:26379/0 primary=main"},
		{"redis+sentinel://[::1]:26380,[::2],127.0.0.1/main/", "tcp://::1:26380,::2:26379,127.0.0.1:26379/0 primary=main"},
		{"redis+sentinel://a,b,/main/0", "tcp://a:26379,b:26379/0 primary=main"},
		{"redis+sentinel://a,a:26379/main/0", "tcp://a:26379/0 primary=main"},
		{"redis+sentinel://a/5", "tcp://a:26379/5"}, // sessions.sentinel.master_name has the name
		{"redis+sentinel://a/5/1", "tcp://a:26379/1 primary=5"},
		{"redis+sentinel://:p@a/0?service_name=main&sentinel_username=s&sentinel_password=sp", "tcp://a:26379/0 password=p primary=main sentinel_user=s sentinel_password=sp"},
		{"redis+sentinel://a/main?sentinel_kwargs=%7B%22password%22:%22sp%22,%22socket_timeout%22:1%7D", "tcp://a:26379/0 primary=main sentinel_password=sp"},
		{"redis://s:sp@a:26379?master_name=main&username=u&password=p&addr=b:26380&addr=c:26381", "tcp://a:26379,b:26380,c:26381/0 user=u password=p primary=main sentinel_user=s sentinel_password=sp"},
		{"rediss://a:26379/2?addr=b:26380&master_name=main&replica_only=true", "tls://a:26379,b:26380/2 primary=main ignored=replica_only"},
		{"redis-sentinel://:p@a:26379,b:26379/2#main", "tcp://a:26379,b:26379/2 password=p primary=main"},
		{"rediss-sentinel://a,b#main", "tls://a:26379,b:26379/0 primary=main"},
		{"redis-sentinel://a,b/0?sentinelMasterId=main&timeout=10s", "tcp://a:26379,b:26379/0 primary=main ignored=timeout"},
		{"sentinel://a:26379;sentinel://b:26380;sentinel://c/1?master_name=main", "tcp://a:26379,b:26380,c:26379/1 primary=main"},
		{"sentinel://:p@a:26379/0;sentinel://:p@b:26380/0;", "tcp://a:26379,b:26380/0 password=p"},
		{"sentinel://:p@a:26379;SENTINEL://b/", "tcp://a:26379,b:26379/0 password=p"},
		{"sentinel://a:26379/0;sentinel://b:26380/0?master_name=main", "tcp://a:26379,b:26380/0 primary=main"},
		// A cluster.
		{"redis+cluster://u:p@a:6379,b:6380,c", "cluster tcp://a:6379,b:6380,c:6379/0 user=u password=p"},
		{"rediss+cluster://a/0", "cluster tls://a:6379/0"},
		{"valkey-cluster://a,b", "cluster tcp://a:6379,b:6379/0"},
		{"redis+cluster://a/3", "cluster tcp://a:6379/3"}, // Valkey 9
		{"rediss://u:p@a:6379?addr=b:6380&addr=c:6381&max_redirects=3&route_randomly=true", "cluster tls://a:6379,b:6380,c:6381/0 user=u password=p ignored=max_redirects,route_randomly"},
		{"redis://a?cluster=true", "cluster tcp://a:6379/0"},
		{"redis://a?cluster=false", "tcp://a:6379/0"},
		{"redis://:a;b@h", "tcp://h:6379/0 password=a;b"},
		{"redis://h?&&protocol=", "tcp://h:6379/0"},
	} {
		l, err := readURL(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		} else if got := l.show(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// TestReadURLRefuses checks the errors. A canary in the URL stands for a password.
func TestReadURLRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ want, text string }{
		{"is empty", ""},
		{"white space or a control character", "redis://:canary@h:6379/0\n"},
		{"white space or a control character", " redis://:canary@h"},
		{"white space or a control character", "redis://:can ary@h"},
		{"white space or a control character", "redis-cli --tls -u redis://:canary@h"},
		{"white space or a control character", "\ufeffredis://:canary@h"},
		{"white space or a control character", "redis://:canary\u200b@h"},
		{"begins with a quotation mark", `"redis://:canary@h"`},
		{"begins with a quotation mark", `'redis://:canary@h'`},
		{"such as %0A for a newline", "redis://:canary%0A@h"},
		{"such as %0A for a newline", "redis://h?password=canary%0d%0a"},
		{"a % without two hexadecimal digits", "redis://:can%ary@h"},
		{"a % without two hexadecimal digits", "redis://:canary%2@h"},
		{"a % without two hexadecimal digits", "redis://:canary%@h"},
		{"a % without two hexadecimal digits", "redis://h?password=canary%zz"},
		{"cannot be read: it has a #", "redis://:can#ary@h"},
		{"cannot be read: it has a #", "rediss://:canary@h/#insecure"},
		{"it has an @ after its host", "redis://:can/ary@h"},
		{"it has an @ after its host", "redis://:1/2canary@h:6379"},
		{"it has an @ after its host", "redis://:12?timeout=canary@h:6379"},
		{"it has no valid port", "redis://:canary"},
		{"it has no valid port", "redis://u:canary"},
		{"it has no valid port", "redis://h:0"},
		{"it has no valid port", "redis://h:65536"},
		{"it has no valid port", "redis://h:-1"},
		{"it has no valid port", "h:canary"},
		{"it has no valid host", "redis://::1:6379"},
		{"it has no valid host", "redis://[::1:6379"},
		{"it has no valid host", "redis://[127.0.0.1]:6379"},
		{"it has no valid host", "redis://[canary]:6379"},
		{"it has no valid host", "redis://h..example.com"},
		{"it has no valid host", "redis://-canary"},
		{"it has no valid host", "redis://%68:6379"},
		{"it has no valid host", "redis://höst:6379"},
		{"it has no valid host", "REDIS_URL=canary.x"},
		{"it has no valid host", "redis://" + strings.Repeat("a", 254)},
		{"it has no valid database", "redis://h/canary"},
		{"it has no valid database", "redis://h/0/1"},
		{"it has no valid database", "redis://h/-1"},
		{"it has no valid database", "redis://h/1e3"},
		{"it has no valid database", "redis://h/9999999999"},
		{"it has no valid database", "redis://h?db=canary"},
		{"it has no valid database", "redis:/h:6379"},
		{"names database 0 in its path and database 3 in a parameter", "redis://h/0?db=3"},
		{"it has no valid path of a socket", "unix://"},
		{"it has no valid path of a socket", "unix:///"},
		{"it has no valid path of a socket", "unix://run/redis.sock"},
		{"it has no valid path of a socket", "unix://:can/ary@/run/redis.sock"},
		{"it has no valid path of a socket", "unix:///" + strings.Repeat("a", 107)},
		{"connection string with settings after commas", "h:6380,password=canary,ssl=True,abortConnect=False"},
		{"cannot be read; write redis://", "canary"},
		{"cannot be read; write redis://", "REDIS_URL=redis://:canary@h"},
		{"it has an @ after its host", "redis://h?canary@x=1"},
		{"cannot be read; write redis://", "redis://h?password=abc&canary"},
		{"cannot be read; write redis://", "redis://h?can%41ary=1"},
		{"the scheme http:// is not known; use redis://, rediss:// or unix://", "http://:canary@h"},
		{"the scheme memory:// is not known", "memory://"},
		{"the scheme postgres:// is not known", "postgres://u:canary@h/app"},
		// Several servers.
		{"it has no valid name of the primary", "redis+sentinel://a/can!ary"},
		{"it has no valid name of the primary", "redis+sentinel://a/can%41ary"},
		{"it has no valid name of the primary", "redis://a?master_name=can!ary"},
		{"it has no valid database", "redis+sentinel://a/main/canary"},
		{"it has no valid database", "redis+sentinel://a/main/0/canary"},
		{"has two names of the primary", "redis://a/canary?master_name=main"},
		{"it has no valid host", "redis+sentinel://a,-canary/main"},
		{"it has no valid port", "redis+sentinel://a:26379,b:canary/main"},
		{"it has an @ after its host", "redis+sentinel://:can/ary@a/main"},
		{"cannot be read: it has a #", "redis-sentinel://:can#ary@a/0#main"},
		{"cannot be read: it has a #", "redis-sentinel://a/0#can!ary"},
		{"names database 0 in its path and database 3", "redis+sentinel://a/main/0?db=3"},
		{"has two names of the primary", "redis+sentinel://a/main?master_name=other"},
		{"has two names of the primary", "redis+sentinel://a/main#other"},
		{"has two names of the primary", "redis+sentinel://a?master_name=main&service_name=other"},
		{"sets what the URL sets in another way", "redis://:canary@a?master_name=main&sentinel_password=canary"},
		{"sets what the URL sets in another way", "redis+sentinel://:canary@a/main?password=canary"},
		{"must be an object in JSON", "redis+sentinel://a/main?sentinel_kwargs=canary"},
		{"must be an object in JSON", "redis+sentinel://a/main?sentinel_kwargs=%7B%22password%22:1%7D"},
		{"has several URLs that differ in more than their hosts", "sentinel://:canary@a/0;sentinel://:canary2@b/0"},
		{"has several URLs that differ in more than their hosts", "sentinel://a/0;sentinel://b/1"},
		{"has several URLs that differ in more than their hosts", "sentinel://a;redis://:canary@b"},
		{"names more than 100 servers", "redis+sentinel://" + manyHosts(101) + "/main"},
		{"the scheme redis+sentinels:// is not known; write redis+sentinel://", "redis+sentinels://:canary@a/main"},
		{"the scheme redis+http+sentinel:// is not known; write redis+sentinel://", "redis+http+sentinel://:canary@a/main"},
		{"the scheme redis+clusters:// is not known; write redis+cluster://", "redis+clusters://:canary@a"},
		{"names several hosts, and not what they are; write redis+sentinel://", "redis://:canary@a:6379,b:6379,c:6379/0"},
		{"names several hosts, and not what they are", "a:6379,b:6379"},
		{"has a parameter that names Sentinels in a form that is not known", "redis://a:26379?sentinel=main"},
		{"has parameters for Sentinels, and names none", "redis://a?sentinel_password=canary"},
		{"it has no valid host", "redis://:canary@a;b"},
		{"has parameters for TLS, and does not use TLS", "redis+sentinel://a/main?ssl_ca_certs=/canary"},
		{"it has no valid port", "redis://:canary@a:6379?addr=b:canary"},
		{"it has no valid host", "redis://:canary@a:6379?addr=-canary"},
		{"it has no valid database", "redis+cluster://:canary@a:6379/canary"},
		{"cannot be read: it has a #", "redis+cluster://:canary@a:6379#canary"},
		{"the parameter cluster contradicts the rest of the URL", "redis+cluster://a?cluster=false"},
		{"the parameter cluster contradicts the rest of the URL", "redis+sentinel://a/main?cluster=true"},
		{"the value of cluster must be true or false", "redis://a?cluster=canary"},
		{"has parameters for several servers, and names a socket", "unix:///s?addr=a:1"},
		{"has parameters for Sentinels, and names none", "redis+cluster://a?sentinel_password=canary"},
		// Parameters.
		{"the parameter ssl_cert_req is not known; did you mean ssl_cert_reqs?", "rediss://:canary@h?ssl_cert_req=none"},
		{"the parameter socketTimout is not known; did you mean socket_timeout?", "redis://h?socketTimout=1"},
		{"the parameter frobnicate is not known; leave it out. Those with an effect are db, username, password, client_name,", "redis://h?frobnicate=canary"},
		{"the parameter db is given twice", "redis://h?db=1&db=1"},
		{"the parameter socketTimeout is given twice", "redis://h?socket_timeout=1&socketTimeout=1"},
		{"the parameter password sets what the URL sets in another way too", "redis://:canary@h?password=canary"},
		{"the value of max_connections must be a number", "redis://h?max_connections=canary"},
		{"the value of idle_timeout must be a number of seconds or a duration", "redis://h?idle_timeout=canary"},
		{"the value of ssl must be true or false", "redis://h?ssl=canary"},
		{"the value of ssl_cert_reqs is not known", "rediss://h?ssl_cert_reqs=canary"},
		{"the parameter ssl turns off the TLS", "rediss://h?ssl=false"},
		{"the parameter tls asks for TLS on a socket", "unix:///s?tls=true"},
		{"has parameters for TLS, and does not use TLS", "redis://:canary@h?ssl_cert_reqs=none"},
		{"has parameters for TLS, and does not use TLS", "redis://h?ssl_ca_certs=/canary"},
		{"has a setting of TLS that is not supported", "rediss://h?ssl_keyfile_password=canary"},
		{"leave one of the two out", "rediss://h?skip_verify=true&ssl_ca_certs=/ca.pem"},
		{"write it into sessions.key_template", "redis://h?keyPrefix=canary"},
	} {
		l, err := readURL(tt.text)
		switch {
		case err == nil:
			t.Errorf("%q is taken as %s, want %s", tt.text, l.show(), tt.want)
		case !strings.Contains(err.Error(), tt.want):
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		case strings.Contains(err.Error(), "canary"):
			t.Errorf("%q: the error shows a part of the URL: %v", tt.text, err)
		}
	}
}

func manyHosts(n int) string {
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("h%d", i)
	}
	return strings.Join(hosts, ",")
}

// TestParametersAreReadOnce checks that no name is in two rows of the table.
func TestParametersAreReadOnce(t *testing.T) {
	t.Parallel()
	names := 0
	for i, p := range parameters {
		for name := range strings.FieldsSeq(p.names) {
			names++
			if parameterOf[plainName(name)] != &parameters[i] || !parameterText.MatchString(name) {
				t.Errorf("%s is in two rows, or no name", name)
			}
		}
	}
	if len(parameterOf) != names {
		t.Errorf("%d names, %d of them different", names, len(parameterOf))
	}
}

// TestDocumentedURLs checks that README names schemes and parameters that are known.
func TestDocumentedURLs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../cmd/warder/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### The URL of Redis\n")
	section, _, _ = strings.Cut(section, "\n## ")
	known := 0
	for row := range strings.Lines(section) {
		if !strings.HasPrefix(row, "| `") && !strings.HasPrefix(row, "| timeouts") {
			continue
		}
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			known++
			name := strings.TrimSuffix(code[1], "=true")
			if parameterText.MatchString(name) && parameterOf[plainName(name)] == nil {
				t.Errorf("the parameter %s is documented, and not known", name)
			}
		}
		for _, code := range regexp.MustCompile("`([a-z+-]+)://").FindAllStringSubmatch(row, -1) {
			known++
			if _, is := schemes[code[1]]; !is && !severalText.MatchString(code[1]) {
				t.Errorf("the scheme %s is documented, and not known", code[1])
			}
		}
	}
	if known < 20 {
		t.Errorf("%d names: this tests too little", known)
	}
}

// FuzzURL checks that no URL panics, that no error shows the password, and that what is accepted
// names a server that a connection can be opened to.
func FuzzURL(f *testing.F) {
	for _, seed := range []struct{ scheme, user, host, tail string }{
		{"redis://", "u", "h:6379", "/0?protocol=3"},
		{"rediss://", "", "[::1]", "?ssl_cert_reqs=none&ssl_ca_certs=/ca"},
		{"unix://", "", "/run/redis.sock", "?db=1"},
		{"", "", "h:6379", ""},
		{"redis+sentinel://", "", "a,b", "/m"},
		{"redis://", "%zz", "h", "#?@"},
	} {
		f.Add(seed.scheme, seed.user, seed.host, seed.tail)
	}
	const password = "S3cr3t/p?a#s%s@w[o]r:d"
	f.Fuzz(func(t *testing.T, scheme, user, host, tail string) {
		for _, written := range []string{url.QueryEscape(password), password, "S3cr3t"} {
			for _, text := range []string{scheme + user + ":" + written + "@" + host + tail, scheme + host + tail + "&password=" + written, scheme + written + tail} {
				l, err := readURL(text)
				if err != nil {
					if strings.Contains(err.Error(), "S3cr3t") {
						t.Fatalf("%q: %v", text, err)
					}
					continue
				}
				if l.socket && l.address[0] != '/' || !l.socket && len(l.servers) == 0 {
					t.Errorf("%q: no server in %s", text, l.show())
				}
				for _, s := range l.servers {
					if _, err := netip.ParseAddr(s.host); s.port == 0 || err != nil && !hostText.MatchString(s.host) {
						t.Errorf("%q: no server in %s", text, l.show())
					}
				}
				for _, line := range l.warnings() {
					if strings.Contains(line, "S3cr3t") {
						t.Errorf("%q: %s", text, line)
					}
				}
			}
		}
	})
}
