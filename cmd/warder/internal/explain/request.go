package explain

import (
	"fmt"
	"io"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// splitHeader splits 'Name: value', or returns why it is not a valid header.
func splitHeader(h string) (name, value, why string) {
	name, value, found := strings.Cut(h, ":")
	value = strings.Trim(value, " \t")
	switch {
	case h != "" && h[0] == ':':
		return "", "", "is a pseudo-header; the method, the host and the path are those of METHOD URL"
	case !found:
		return "", "", "has no colon; write 'Name: value'"
	case !isHeaderName(name):
		return "", "", "does not begin with the name of a header; write 'Name: value'"
	case strings.EqualFold(name, "host"):
		return "", "", "names a host; it is the one of URL"
	case strings.ContainsAny(value, "\r\n\x00"):
		return "", "", "has a line end or a zero byte, which no header can contain"
	}
	return name, value, ""
}

func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// requestLine makes the HTTP part of a check of METHOD URL. It splits the URL only at the
// first slash of its path, so that the path is the same as Envoy would see.
func requestLine(method, url string) (_ *authv3.AttributeContext_HttpRequest, why string) {
	rest := url
	if scheme, after, found := strings.Cut(url, "://"); found && !strings.ContainsAny(scheme, "/?#") {
		if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return nil, fmt.Sprintf("%q is not an http:// or https:// URL", url)
		}
		rest = after
	} else if !strings.HasPrefix(url, "/") {
		return nil, fmt.Sprintf("%q is not a URL; write https://HOST/PATH, or /PATH for a request without a host", url)
	}
	host, path := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
		if path[0] != '/' {
			path = "/" + path
		}
	}
	switch {
	case !isHeaderName(method):
		return nil, fmt.Sprintf("%q is not a method; write METHOD URL, as in: GET https://api.example.com/x", method)
	case strings.Contains(host, "@"):
		return nil, fmt.Sprintf("%q has a user name, which no request sends; use --as-user or --header", url)
	case host == "" && rest != url:
		return nil, fmt.Sprintf("%q has no host; write https://HOST/PATH", url)
	case strings.ToValidUTF8(url, "") != url:
		return nil, "the URL is not UTF-8; write its bytes percent-encoded"
	}
	return &authv3.AttributeContext_HttpRequest{Method: method, Host: host, Path: path}, ""
}

// request makes the check to explain, with the fields of --header.
func (o *options) request(p cli.Process, args []string) (*authv3.CheckRequest, error) {
	in, err := o.bareRequest(p, args)
	if err != nil {
		return nil, err
	}
	for _, h := range o.headers {
		name, value, _ := splitHeader(h)
		AddHeader(in, name, value)
	}
	return in, nil
}

// bareRequest makes a check of METHOD URL, or reads a captured check.
func (o *options) bareRequest(p cli.Process, args []string) (*authv3.CheckRequest, error) {
	if o.checkRequest == "" {
		line, _ := requestLine(args[0], args[1]) // was checked before
		return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: line}}}, nil
	}
	var data []byte
	var err error
	name := cli.InputName(o.checkRequest)
	if o.checkRequest == cli.StandardInput {
		data, err = io.ReadAll(io.LimitReader(p.Stdin, maxCaptured+1))
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, cli.Problems{{Position: strict.Position{File: name}, Message: fmt.Sprintf("cannot be read: %v", cli.Cause(err))}}
	}
	if len(data) > maxCaptured {
		return nil, cli.Problems{{Position: strict.Position{File: name}, Message: "is larger than 16 MiB, which no CheckRequest is"}}
	}
	in, why := decodeCaptured(data)
	if why != "" {
		return nil, cli.Problems{{Position: strict.Position{File: name}, Message: why}}
	}
	return in, nil
}

// decodeCaptured parses the JSON of a CheckRequest, or returns why it is invalid.
func decodeCaptured(data []byte) (in *authv3.CheckRequest, why string) {
	in = new(authv3.CheckRequest)
	// Ignore fields of a later Envoy, as gRPC does.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, in); err != nil {
		return nil, "is not an envoy.service.auth.v3.CheckRequest in JSON: " + withoutPrefix(err)
	}
	if in.GetAttributes().GetRequest().GetHttp() == nil {
		return nil, "has no attributes.request.http; write an envoy.service.auth.v3.CheckRequest as protojson does"
	}
	return in, ""
}

const maxCaptured = 16 << 20

// withoutPrefix removes the prefix of protojson's error messages. The kind of space in the
// prefix differs from build to build.
func withoutPrefix(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
}

// carry adds a credential to the request, where its source says.
func carry(in *authv3.CheckRequest, source authz.Source, credential string) {
	fields, query := source.Carry(credential)
	for _, f := range fields {
		AddHeader(in, f.Name, f.Value)
	}
	if http := in.Attributes.Request.Http; query != "" {
		http.Path = authz.AddQuery(http.Path, query)
	}
}

// AddHeader adds a header field as Envoy would send it. It appends the field to the raw headers,
// joins it with a comma in the header map, or does both if the request has both.
func AddHeader(in *authv3.CheckRequest, name, value string) {
	http := in.Attributes.Request.Http
	name = strings.ToLower(name)
	if http.HeaderMap != nil || len(http.Headers) == 0 {
		if http.HeaderMap == nil {
			http.HeaderMap = new(corev3.HeaderMap)
		}
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	if len(http.Headers) == 0 {
		return
	}
	for key, before := range http.Headers {
		if strings.EqualFold(key, name) {
			http.Headers[key] = before + "," + value
			return
		}
	}
	http.Headers[name] = value
}

// HeaderNames returns the names of the header fields of the request, in lower case.
func HeaderNames(in *authv3.CheckRequest) map[string]bool {
	http, names := in.GetAttributes().GetRequest().GetHttp(), map[string]bool{}
	for key := range http.GetHeaders() {
		names[strings.ToLower(key)] = true
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		names[strings.ToLower(h.GetKey())] = true
	}
	return names
}

// SetPeer sets the address of the peer of the connection.
func SetPeer(in *authv3.CheckRequest, addr string) {
	source(in).Address = &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1}},
	}}
}

// source returns the peer of the connection. It creates the peer if there is none.
func source(in *authv3.CheckRequest) *authv3.AttributeContext_Peer {
	if in.Attributes.Source == nil {
		in.Attributes.Source = &authv3.AttributeContext_Peer{}
	}
	return in.Attributes.Source
}
