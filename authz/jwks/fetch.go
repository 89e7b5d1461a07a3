package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// fetchTimeout bounds a fetch, with discovery.
	fetchTimeout = 10 * time.Second
	// maxBody bounds an answer. The sets of large providers have some 10 KiB.
	maxBody = 512 << 10
	// maxHeaders bounds the headers of an answer.
	maxHeaders = 64 << 10
	// maxRedirects is the greatest number of redirects that are followed on one host.
	maxRedirects = 3
	// rediscover is how long the URL that discovery found is used.
	rediscover = time.Hour
)

// An answer is what a fetch returned.
type answer struct {
	body      []byte
	unchanged bool // 304: the keys are those of the fetch before
	etag      string
	fresh     time.Duration // what Cache-Control says; negative if it says nothing
}

// authorities reads a file of certificate authorities.
func authorities(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxBody) {
		return nil, fmt.Errorf("%s is no file with certificates", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, bare(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s contains no certificate in PEM", path)
	}
	return pool, nil
}

// bare returns the cause of an error of a file, without the name of the file.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// client returns a client for one fetch. Fetches are rare, so that no connection is kept, and a
// file of authorities may change between two of them.
func (s *Source) client() (*http.Client, error) {
	transport := s.transport
	if transport == nil {
		own := &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeaders,
		}
		if s.config.CAFile != "" {
			pool, err := authorities(s.config.CAFile)
			if err != nil {
				return nil, err
			}
			own.TLSClientConfig.RootCAs = pool
		}
		transport = own
	}
	return &http.Client{Transport: transport, CheckRedirect: sameHost}, nil
}

// sameHost follows redirects on one host only. Another host need not be the issuer's.
func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	switch {
	case next.URL.Scheme != first.Scheme || !strings.EqualFold(next.URL.Host, first.Host):
		return fmt.Errorf("it redirects to another host, %s; configure the URL where the keys are", next.URL.Host)
	case len(before) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	return nil
}

// get reads a URL. etag is that of the answer before, or "".
func get(ctx context.Context, client *http.Client, address, etag string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, errors.New("the URL cannot be used")
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	request.Header.Set("User-Agent", "warder")
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL
		}
		return answer{}, fmt.Errorf("%s does not answer: %w", request.URL.Host, err)
	}
	defer response.Body.Close()
	out := answer{etag: response.Header.Get("ETag"), fresh: freshness(response.Header)}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		if etag == "" {
			return answer{}, fmt.Errorf("%s answers with status 304 to a request without a condition", request.URL.Host)
		}
		out.unchanged, out.etag = true, etag
		return out, nil
	default:
		return answer{}, fmt.Errorf("%s answers with status %d", request.URL.Host, response.StatusCode)
	}
	out.body, err = io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("the answer of %s cannot be read: %w", request.URL.Host, err)
	case len(out.body) > maxBody:
		return answer{}, fmt.Errorf("the answer of %s is longer than %d bytes", request.URL.Host, maxBody)
	}
	return out, nil
}

// freshness returns how long Cache-Control says that an answer stays the same, or a negative
// time if it says nothing.
func freshness(h http.Header) time.Duration {
	fresh := time.Duration(-1)
	for _, field := range h.Values("Cache-Control") {
		for part := range strings.SplitSeq(field, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return 0
			case "max-age":
				if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					fresh = time.Duration(seconds) * time.Second
				}
			}
		}
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil && fresh > 0 {
		fresh = max(0, fresh-time.Duration(age)*time.Second)
	}
	return fresh
}

// discover returns the jwks_uri of the issuer (OpenID Connect Discovery 1.0, section 4).
func (s *Source) discover(ctx context.Context, client *http.Client) (string, error) {
	got, err := get(ctx, client, strings.TrimSuffix(s.config.Issuer, "/")+"/.well-known/openid-configuration", "")
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	var found struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(got.body, &found); err != nil {
		return "", errors.New("discovery: the answer is not the JSON of an OpenID provider")
	}
	if found.Issuer != s.config.Issuer {
		return "", fmt.Errorf("discovery: the provider calls itself %q, not %q; tokens have the provider's name in iss, so configure that as issuer", cut(found.Issuer), s.config.Issuer)
	}
	if err := checkURL(found.JWKSURI); err != nil {
		return "", fmt.Errorf("discovery: the jwks_uri %w", err)
	}
	return found.JWKSURI, nil
}

// cut bounds a text of a server for a message.
func cut(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
