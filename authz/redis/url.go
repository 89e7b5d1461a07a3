package redis

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	schemeText    = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	parameterText = regexp.MustCompile(`^[a-z_]{1,40}$`)
)

var errURL = errors.New("cannot be read; write redis://[user:password@]host[:port][/database], rediss:// for TLS, " +
	"or unix:///path/to/socket, and percent-encode special characters in a password")

// parseURL parses the URL. It never returns an error of the parsers below, because their
// text contains what they could not parse, which may be the password.
func parseURL(text string) (*redis.Options, error) {
	scheme, _, found := strings.Cut(text, "://")
	switch {
	case text == "":
		return nil, errors.New("is empty; write redis://host:6379/0")
	case found && schemeText.MatchString(scheme) && scheme != "redis" && scheme != "rediss" && scheme != "unix":
		return nil, fmt.Errorf("the scheme %s:// is not known; use redis://, rediss:// or unix://", scheme)
	}
	options, err := redis.ParseURL(text)
	if err == nil {
		return options, nil
	}
	// If the URL is valid without its parameters, find the parameter at fault.
	bare, query, found := strings.Cut(text, "?")
	if _, err := redis.ParseURL(bare); err == nil && found {
		values, err := url.ParseQuery(query)
		if err != nil {
			return nil, errURL
		}
		for name := range values {
			if _, err := redis.ParseURL(bare + "?" + url.Values{name: values[name]}.Encode()); err != nil && parameterText.MatchString(name) {
				return nil, fmt.Errorf("the parameter %s is not known or its value is wrong; leave it out or see the redis:// URLs of go-redis", name)
			}
		}
	}
	return nil, errURL
}

// severalServers describes what a URL names when that is not a single server, such as
// "a Sentinel", or returns "". It knows the spellings that various clients use.
func severalServers(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, query, _ := strings.Cut(rest, "?")
	hosts := rest[strings.LastIndexByte(rest, '@')+1:]
	if scheme != "unix" {
		hosts, _, _ = strings.Cut(hosts, "/")
	}
	values, _ := url.ParseQuery(query) // parseURL reports errors
	has := func(names ...string) bool {
		for name := range values {
			if slices.Contains(names, strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.Contains(scheme, "sentinel"), has("sentinel", "sentinels", "master", "mastername", "sentinelmasterid", "sentinelmaster"):
		return "a Sentinel"
	case strings.Contains(scheme, "cluster"), has("addr", "cluster"):
		return "a Cluster"
	case scheme != "unix" && strings.Contains(hosts, ","):
		return "several hosts, a Cluster or Sentinels"
	}
	return ""
}
