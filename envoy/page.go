package envoy

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"warder/authz"
)

// A page is a denial as the policy writes it for a client: a body of its own, or a redirect to a
// login page. It depends on the status and the request only, never on the reason. The zero page
// is the problem document.
type page struct {
	contentType, body string
	location          string
}

// pageFor returns the page of a denial for the client that sent the request.
func pageFor(d authz.Decision, status int, r *authz.Request) page {
	as := d.Denials()
	if as == nil {
		return page{}
	}
	medium := mediumFor(r.Headers)
	if status == http.StatusUnauthorized && medium == authz.MediumHTML && opensPage(r) {
		if location := d.Login(r); validLocation(location) {
			return page{location: location}
		}
	}
	body, found := as.Body(status, medium)
	if !found {
		return page{}
	}
	return page{contentType: contentTypes[medium], body: body}
}

// contentTypes are the content types of bodies. Each medium has one.
var contentTypes = [...]string{
	authz.MediumJSON: "application/json",
	authz.MediumHTML: "text/html; charset=utf-8",
	authz.MediumText: "text/plain; charset=utf-8",
}

// opensPage reports whether the request is one with which a browser opens a page, so that it
// would show the login page of a redirect. It opens no WebSocket.
func opensPage(r *authz.Request) bool {
	_, upgrades := r.Headers.First("upgrade")
	return upgrades == 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// mediumFor returns the medium that a client prefers by its Accept (RFC 9110 section 12.5.1): the
// type with the highest weight, and of several the one that is listed first. Wildcards, and types
// of which there is no body, stand for JSON: it is what every client got before.
func mediumFor(headers authz.Headers) authz.Medium {
	medium, best := authz.MediumJSON, 0.0
	for entry := range headers.Items("accept", ",") {
		if entry == "" {
			continue
		}
		mediaType, parameters, _ := strings.Cut(entry, ";")
		weight := weightOf(parameters)
		if weight <= best {
			continue
		}
		best = weight
		switch lower(strings.TrimSpace(mediaType)) {
		case "text/html", "application/xhtml+xml":
			medium = authz.MediumHTML
		case "text/plain":
			medium = authz.MediumText
		default:
			medium = authz.MediumJSON
		}
	}
	return medium
}

// weightOf returns the weight among the parameters of a media range (RFC 9110 section 12.4.2). It
// is 0 if it cannot be read.
func weightOf(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		weight, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(weight >= 0 && weight <= 1) {
			return 0
		}
		return weight
	}
	return 1
}

// validLocation reports whether a URL may be a Location: a path on the host of the request or an
// absolute URL of HTTP, in printable ASCII without what browsers read as a slash. Policies are
// checked for the same; this is checked again because it is written into a header.
func validLocation(location string) bool {
	local := strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//")
	if !local && !strings.HasPrefix(location, "https://") && !strings.HasPrefix(location, "http://") {
		return false
	}
	for i := range len(location) {
		if c := location[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}#", c) >= 0 {
			return false
		}
	}
	return true
}

// valid reports whether the page may be sent with a status.
func (p page) valid(status int) bool {
	switch {
	case p.location != "":
		return status == http.StatusUnauthorized && validLocation(p.location) && p.contentType == "" && p.body == ""
	case p.body != "":
		return p.contentType != "" && utf8.ValidString(p.body)
	}
	return p == (page{})
}

// headers returns the response headers of a page in the place of those of the problem document.
// Pages are not stored, because they depend on what the client asks for.
func (p page) headers(standard []setHeader) []setHeader {
	headers := []setHeader{{"cache-control", "no-store"}}
	if p.location != "" {
		headers = append(headers, setHeader{"location", p.location})
	} else {
		headers = append(headers, setHeader{"content-type", p.contentType})
	}
	for _, h := range standard {
		if h.name != "content-type" {
			headers = append(headers, h)
		}
	}
	return headers
}

// status returns the HTTP status of a denial with the page.
func (p page) status(denied int) int {
	if p.location != "" {
		return http.StatusFound
	}
	return denied
}
