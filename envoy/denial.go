package envoy

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"warder/authz"
)

// A denial is everything that a client learns about a denied request. There is one for each
// status, independent of the reason. Its form depends on the request only.
type denial struct {
	code   codes.Code // of the CheckResponse
	grpc   codes.Code // of gRPC clients: what Envoy makes of the HTTP status
	detail string
}

var denials = map[int]denial{
	http.StatusBadRequest:         {codes.InvalidArgument, codes.Internal, "The request is malformed or ambiguous."},
	http.StatusUnauthorized:       {codes.Unauthenticated, codes.Unauthenticated, "Authentication required."},
	http.StatusForbidden:          {codes.PermissionDenied, codes.PermissionDenied, "Access denied."},
	http.StatusServiceUnavailable: {codes.Unavailable, codes.Unavailable, "Authorization is unavailable at the moment."},
}

// A form is how a denial is written for the protocol of the client.
type form uint8

const (
	// formProblem is a problem document (RFC 9457).
	formProblem form = iota
	// formGRPC is plain text, from which Envoy makes the grpc-message of a gRPC response.
	formGRPC
	// formGRPCWeb is a gRPC-Web response without a message, whose status is in the headers. The
	// shipped configurations have Envoy's gRPC-Web filter after ext_authz, so Envoy does not
	// make one. The HTTP status stays that of the denial.
	formGRPCWeb
	// formGRPCWebText also has the status as trailers in the body, in base64. Google's client
	// for browsers reads no header of an HTTP error. In the binary form such a body is not
	// possible: it begins with the byte 0x80, and Envoy takes only UTF-8.
	formGRPCWebText

	formCount
)

// formFor returns the form for the client that sent a request, by its content type. A request
// that is nil or has no readable headers gets a problem document.
func formFor(in *CheckRequest) form {
	if in == nil {
		return formProblem
	}
	for _, headers := range []authz.Headers{in.raw, in.joined} {
		for _, h := range headers {
			if strings.EqualFold(h.Name, "content-type") {
				return formOf(h.Value)
			}
		}
	}
	return formProblem
}

// formOf returns the form for a content type. The types of gRPC are application/grpc,
// application/grpc-web and application/grpc-web-text, each with an optional +encoding. Media
// types have no case, and their parameters do not matter (RFC 9110 section 8.3.1).
func formOf(contentType string) form {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType, _, _ = strings.Cut(strings.Trim(mediaType, " \t"), "+")
	switch lower(mediaType) {
	case "application/grpc":
		return formGRPC
	case "application/grpc-web":
		return formGRPCWeb
	case "application/grpc-web-text":
		return formGRPCWebText
	}
	return formProblem
}

// body returns the body of a denial.
func (d denial) body(status int, as form) string {
	switch as {
	case formGRPC:
		return d.detail
	case formGRPCWeb:
		return ""
	case formGRPCWebText:
		return base64.StdEncoding.EncodeToString(d.trailers())
	default:
		return `{"type":"about:blank","title":"` + http.StatusText(status) + `","status":` + strconv.Itoa(status) + `,"detail":"` + d.detail + `"}`
	}
}

// trailers returns the frame of gRPC-Web that holds the status (PROTOCOL-WEB.md of gRPC): a flag,
// four bytes of length, and lines as in HTTP/1.1.
func (d denial) trailers() []byte {
	lines := "grpc-status:" + strconv.Itoa(int(d.grpc)) + "\r\ngrpc-message:" + d.detail + "\r\n"
	frame := binary.BigEndian.AppendUint32([]byte{0x80}, uint32(len(lines))) //nolint:gosec // a short text
	return append(frame, lines...)
}

// headers returns the response headers of a denial, without those for [corsHeaders].
func (d denial) headers(status int, challenge string, as form) []setHeader {
	var headers []setHeader
	switch as {
	case formGRPC: // Envoy replaces it with application/grpc
		headers = append(headers, setHeader{"content-type", "text/plain"})
	case formGRPCWeb:
		headers = append(headers, setHeader{"content-type", "application/grpc-web+proto"})
	case formGRPCWebText:
		headers = append(headers, setHeader{"content-type", "application/grpc-web-text+proto"})
	default:
		headers = append(headers, setHeader{"content-type", "application/problem+json"})
	}
	switch status {
	case http.StatusUnauthorized:
		headers = append(headers, setHeader{"www-authenticate", challenge})
	case http.StatusServiceUnavailable:
		headers = append(headers, setHeader{"retry-after", "1"}) // seconds
	}
	if as == formGRPCWeb || as == formGRPCWebText {
		headers = append(headers, setHeader{"grpc-status", strconv.Itoa(int(d.grpc))}, setHeader{"grpc-message", d.detail})
	}
	return headers
}

// corsHeaders returns the headers that let scripts of an origin read a denial of a request with
// its user's cookies. They also keep caches from returning it to another origin. Of the headers
// of a response, scripts see only those that are exposed; a gRPC-Web client needs its status.
func corsHeaders(origin string, as form) []setHeader {
	headers := []setHeader{
		{"access-control-allow-origin", origin},
		{"access-control-allow-credentials", "true"},
		{"vary", "Origin"},
	}
	if as != formProblem { // the request may have been gRPC-Web before Envoy's filter
		headers = append(headers, setHeader{"access-control-expose-headers", "grpc-status,grpc-message"})
	}
	return headers
}

// validOrigin reports whether an origin is an HTTP origin of a browser, as a policy can list
// it. Origins are checked again here because they are written into a header. The empty origin
// is not valid.
func validOrigin(origin string) bool {
	host, found := strings.CutPrefix(origin, "https://")
	if !found {
		host, found = strings.CutPrefix(origin, "http://")
	}
	if !found || host == "" || len(origin) > maxOrigin {
		return false
	}
	for i := range len(host) {
		c := host[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && strings.IndexByte("-_.:[]", c) < 0 {
			return false
		}
	}
	return true
}

// maxOrigin is the length of a scheme, the longest host and the longest port.
const maxOrigin = len("https://") + 255 + len(":65535")
