package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"warder/policy/strict"
)

// A parameter is a parameter of URLs, in the spellings of various clients. The case of letters,
// and _ and - between words, make no difference: socketTimeout is socket_timeout.
type parameter struct {
	names string // separated by spaces
	// read applies a value that is not empty.
	read func(l *location, name, value string) error
	// refused, if not nil, is the reason why the parameter is not accepted. A parameter without
	// read and refused is ignored, because it is about what warder decides itself or does not do.
	refused error
	// tls means that the parameter is for connections with TLS only.
	tls bool
	// sentinels means that the parameter is for URLs that name Sentinels only.
	sentinels bool
	// primary means that the parameter makes the URL one of Sentinels.
	primary bool
	// several means that the parameter is for URLs that name Sentinels or a cluster only.
	several bool
	// many means that the parameter may be given several times.
	many bool
}

var (
	errKeyPrefix = errors.New("has a prefix for keys, which is not applied to the keys of sessions; write it into sessions.key_template, and leave it out here")
	errTLSForm   = errors.New("has a setting of TLS that is not supported: a folder or the text of certificates, or a key with a password; " +
		"name files in PEM with sessions.tls.ca_file, cert_file and key_file")
)

// parameters are those of redis-py, kombu (Celery), Django, go-redis, redis-rs, ioredis,
// node-redis, Lettuce (Spring), Jedis, redis-rb (Rails) and Predis.
var parameters = []parameter{
	{names: "db database virtual_host", read: func(l *location, _, value string) error {
		return l.readDatabase(strings.Trim(value, "/"))
	}},
	{names: "username user", read: func(l *location, name, value string) error { return setText(&l.username, name, value) }},
	{names: "password pass", read: func(l *location, name, value string) error { return setText(&l.password, name, value) }},
	{names: "client_name connection_name", read: func(l *location, name, value string) error { return setText(&l.clientName, name, value) }},
	{names: "pool_size", read: func(l *location, name, value string) error { return setCount(&l.poolSize, name, value) }},
	{names: "max_connections max_active_conns", read: func(l *location, name, value string) error { return setCount(&l.maxConns, name, value) }},
	{names: "conn_max_idle_time idle_timeout", read: func(l *location, name, value string) error { return setDuration(&l.maxIdleTime, name, value) }},
	{names: "conn_max_lifetime max_conn_age", read: func(l *location, name, value string) error { return setDuration(&l.maxLifetime, name, value) }},

	{names: "ssl tls use_ssl use_tls", read: readUseTLS},
	{names: "ssl_ca_certs ssl_ca_file tls_ca_file ca_file", tls: true, read: func(l *location, name, value string) error { return setText(&l.files.CAFile, name, value) }},
	{names: "ssl_certfile tls_cert_file cert_file", tls: true, read: func(l *location, name, value string) error { return setText(&l.files.CertFile, name, value) }},
	{names: "ssl_keyfile tls_key_file key_file", tls: true, read: func(l *location, name, value string) error { return setText(&l.files.KeyFile, name, value) }},
	{names: "ssl_cert_reqs ssl_check_hostname verify_peer verify_peer_name verify_mode reject_unauthorized", tls: true, read: readVerification},
	{names: "skip_verify", tls: true, read: func(l *location, name, value string) error { return setBool(&l.skipVerify, name, value) }},
	{names: "ssl_ca_path ssl_ca_data ssl_password ssl_keyfile_password ssl_pfx", tls: true, refused: errTLSForm},
	{names: "ssl_min_version ssl_ciphers ssl_validate_ocsp ssl_validate_ocsp_stapled ssl_ocsp_context ssl_ocsp_expected_cert ssl_context", tls: true},

	{names: "master_name master master_set sentinel_master sentinel_master_id sentinel_master_name service_name sentinel_service_name", primary: true, read: func(l *location, _, value string) error {
		if !primaryText.MatchString(value) {
			return errPrimary
		}
		return l.setPrimary(value)
	}},
	{names: "sentinel_username", sentinels: true, read: func(l *location, name, value string) error { return setText(&l.sentinelUsername, name, value) }},
	{names: "sentinel_password", sentinels: true, read: func(l *location, name, value string) error { return setText(&l.sentinelPassword, name, value) }},
	{names: "sentinel_kwargs", sentinels: true, read: readSentinelOptions},
	{names: "min_other_sentinels use_disconnected_replicas check_connection", sentinels: true},
	{names: "addr", several: true, many: true, read: func(l *location, _, value string) error { return l.readHost(value) }},
	{names: "cluster cluster_mode", several: true, read: readCluster},
	{names: "max_redirects", several: true},
	{names: "sentinel sentinels sentinel_hosts", refused: errNamesSentinels},
	{names: "key_prefix prefix namespace global_keyprefix", refused: errKeyPrefix},

	// Timeouts and retries, which sessions.timeout bounds.
	{names: "timeout socket_timeout socket_connect_timeout connect_timeout connection_timeout command_timeout read_timeout write_timeout " +
		"read_write_timeout dial_timeout pool_timeout so_timeout max_wait health_check_interval ping_interval"},
	{names: "retry retries retry_on_timeout retry_on_error retry_policy retry_strategy max_retries max_retries_per_request reconnect_attempts " +
		"reconnect_delay min_retry_backoff max_retry_backoff retry_delay retry_interval auto_reconnect"},
	// Connections and their pool.
	{names: "socket_keepalive socket_keepalive_options keep_alive tcp_keepalive no_delay tcp_nodelay socket_type socket_read_size family " +
		"single_connection_client connection_class connection_pool_class parser_class client_class redis_connect_func persistent persistent_id " +
		"pool_fifo min_idle_conns max_idle_conns min_idle max_idle max_concurrent_dials conn_max_lifetime_jitter pipeline_pool_size " +
		"pipeline_read_buffer_size pipeline_write_buffer_size lazy_connect enable_offline_queue enable_ready_check"},
	// What is sent, and how a reply is read. warder reads no values.
	{names: "protocol resp decode_responses encoding encoding_errors errors charset lib_name lib_version library_name library_version driver_info " +
		"identity_suffix disable_identity string_numbers show_friendly_error_stack auto_pipelining"},
	// Which server is asked. A replica never is.
	{names: "read_only read_from read_from_replicas replica_only route_by_latency route_by_latency_tolerance route_randomly"},
	// Queues and caches in the same Redis.
	{names: "visibility_timeout fanout_prefix fanout_patterns queue_order_strategy priority_steps sep polling_interval expires_in default_timeout"},
}

// parameterOf finds a parameter by the plain form of its name.
var parameterOf = func() map[string]*parameter {
	index := map[string]*parameter{}
	for i := range parameters {
		for name := range strings.FieldsSeq(parameters[i].names) {
			index[plainName(name)] = &parameters[i]
		}
	}
	return index
}()

func plainName(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}

// A given is a parameter of a URL with its value.
type given struct{ name, value string }

// splitParameters reads the names and the values of the parameters after the address.
func splitParameters(query string) (all []given, err error) {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, encoded, _ := strings.Cut(pair, "=")
		if !parameterText.MatchString(name) {
			return nil, errURL // part of a password can look like a parameter
		}
		value, err := decode(strings.ReplaceAll(encoded, "+", " "))
		if err != nil {
			return nil, err
		}
		if parameterOf[plainName(name)] == nil {
			if strings.Contains(strings.ToLower(query), "pass") {
				return nil, errURL // the name may be part of a password with an & in it
			}
			return nil, unknownParameter(name)
		}
		all = append(all, given{name, value})
	}
	return all, nil
}

// namesPrimary reports whether a parameter has the name of a primary that Sentinels watch.
func namesPrimary(all []given) bool {
	return slices.ContainsFunc(all, func(g given) bool { return g.value != "" && parameterOf[plainName(g.name)].primary })
}

// namesCluster reports whether a parameter says that the servers are those of a cluster.
func namesCluster(all []given) bool {
	return slices.ContainsFunc(all, func(g given) bool {
		name := plainName(g.name)
		return g.value != "" && (name == "addr" || strings.HasPrefix(name, "cluster") && switches[strings.ToLower(g.value)])
	})
}

// readCluster reads a parameter that says whether the servers are those of a cluster.
func readCluster(l *location, name, value string) error {
	var on bool
	if err := setBool(&on, name, value); err != nil {
		return err
	}
	if on != (l.among == inCluster) {
		return fmt.Errorf("the parameter %s contradicts the rest of the URL; leave it out", name)
	}
	return nil
}

// readParameters applies the parameters.
func (l *location) readParameters(all []given) error {
	seen := map[string]bool{}
	for _, g := range all {
		plain := plainName(g.name)
		p := parameterOf[plain]
		switch {
		case g.value == "":
			continue
		case p.refused != nil:
			return p.refused
		case seen[plain] && !p.many:
			return fmt.Errorf("the parameter %s is given twice; keep one", g.name)
		case p.read == nil:
			l.ignored = append(l.ignored, g.name)
		default:
			if err := p.read(l, g.name, g.value); err != nil {
				return err
			}
		}
		seen[plain] = true
	}
	for name := range seen {
		switch p := parameterOf[name]; {
		case p.tls && !l.tls:
			return errors.New("has parameters for TLS, and does not use TLS; write rediss:// instead of redis://, or leave them out")
		case p.several && l.socket:
			return errors.New("has parameters for several servers, and names a socket; leave them out")
		case p.sentinels && l.among != bySentinels:
			return errors.New("has parameters for Sentinels, and names none; write redis+sentinel://host:26379/NAME/0, or leave them out")
		}
	}
	if l.skipVerify && l.files.CAFile != "" {
		return errors.New("names a certificate authority, and has skip_verify, which accepts any certificate; leave one of the two out")
	}
	return nil
}

// readSentinelOptions reads what redis-py and Celery have for connections to Sentinels, in JSON.
func readSentinelOptions(l *location, name, value string) error {
	var options struct{ Username, Password string }
	if err := json.Unmarshal([]byte(value), &options); err != nil {
		return fmt.Errorf("the value of %s must be an object in JSON, with a username and a password as texts; "+
			"or write sentinel_username and sentinel_password", name)
	}
	for _, set := range []struct {
		to    *string
		value string
	}{{&l.sentinelUsername, options.Username}, {&l.sentinelPassword, options.Password}} {
		if set.value == "" {
			continue
		}
		if err := setText(set.to, name, set.value); err != nil {
			return err
		}
	}
	return nil
}

func unknownParameter(name string) error {
	var known, effective []string
	for _, p := range parameters {
		names := strings.Fields(p.names)
		known = append(known, names...)
		if p.read != nil {
			effective = append(effective, names[0])
		}
	}
	if near := strict.Nearest(strings.ToLower(name), known); near != "" {
		return fmt.Errorf("the parameter %s is not known; did you mean %s?", name, near)
	}
	return fmt.Errorf("the parameter %s is not known; leave it out. Those with an effect are %s", name, strings.Join(effective, ", "))
}

// setText sets a text that nothing else in the URL has set.
func setText(to *string, name, value string) error {
	if *to != "" {
		return fmt.Errorf("the parameter %s sets what the URL sets in another way too; keep one of the two", name)
	}
	*to = value
	return nil
}

// setCount sets a number of connections. Clients write 0, a negative number or None where there
// is no limit.
func setCount(to *int, name, value string) error {
	if strings.EqualFold(value, "none") {
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fmt.Errorf("the value of %s must be a number of connections, such as 10", name)
	}
	*to = int(min(max(n, 0), maxPoolSize))
	return nil
}

// setDuration sets a duration: a number of seconds, or a text such as 5m. Without a limit, it is
// 0 or less.
func setDuration(to *time.Duration, name, value string) error {
	d, err := time.ParseDuration(value)
	if n, notSeconds := strconv.ParseInt(value, 10, 32); notSeconds == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil {
		return fmt.Errorf("the value of %s must be a number of seconds or a duration, such as 30 or 5m", name)
	}
	if *to = d; d <= 0 {
		*to = -1 // for the client
	}
	return nil
}

func setBool(to *bool, name, value string) error {
	on, known := switches[strings.ToLower(value)]
	if !known {
		return fmt.Errorf("the value of %s must be true or false", name)
	}
	*to = on
	return nil
}

var switches = map[string]bool{"true": true, "1": true, "yes": true, "on": true, "false": false, "0": false, "no": false, "off": false}

// readUseTLS reads a parameter that turns TLS on.
func readUseTLS(l *location, name, value string) error {
	var on bool
	switch err := setBool(&on, name, value); {
	case err != nil:
		return err
	case on && l.socket:
		return fmt.Errorf("the parameter %s asks for TLS on a socket; leave it out", name)
	case !on && l.tls:
		return fmt.Errorf("the parameter %s turns off the TLS that the scheme asks for; leave it out, or write redis://", name)
	}
	l.tls = l.tls || on
	return nil
}

// readVerification reads a parameter that says whether the server's certificate is verified. It
// always is, because anybody on the network could answer for Redis otherwise, and say that any
// session lives. Applications turn it off in URLs that warder is given as well, so that this is
// no decision about warder.
func readVerification(l *location, name, value string) error {
	value = strings.ToLower(value)
	for _, prefix := range []string{"ssl.", "cert_", "verify_"} {
		value = strings.TrimPrefix(value, prefix)
	}
	switch value {
	case "none", "ca", "0", "false", "no", "off": // Lettuce's ca does not verify the name
		l.verified = append(l.verified, name)
	case "required", "optional", "full", "peer", "2", "1", "true", "yes", "on": // optional is about clients
	default:
		return fmt.Errorf("the value of %s is not known; write required, or leave it out", name)
	}
	return nil
}

// warnings returns what the URL asks for without an effect, and what is dangerous.
func (l *location) warnings() (lines []string) {
	ignored := slices.Sorted(slices.Values(append(slices.Clone(l.ignored), l.verified...)))
	if len(ignored) > 0 {
		line := "the URL has parameters without an effect, because warder decides these things itself: " + strings.Join(ignored, ", ")
		if len(l.verified) > 0 {
			line += "; the server's certificate is verified all the same (" + strings.Join(l.verified, ", ") + ")"
		}
		lines = append(lines, line)
	}
	if l.skipVerify {
		lines = append(lines, "skip_verify accepts the certificate of anybody, who can then answer for Redis and say that any session lives; name the authority with sessions.tls.ca_file instead")
	}
	return lines
}
