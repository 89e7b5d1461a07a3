package envoy

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"warder/authz"
	"warder/authz/mask"
)

// Guard is the interceptor that every response passes last. It replaces a response that does
// not have one of the two shapes with a denial of status 503. It does the same for an error and
// for a panic. Methods other than Check pass unchanged.
func (s *Server) Guard(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	request, _ := in.(*CheckRequest)
	if info.FullMethod != authv3.Authorization_Check_FullMethodName {
		return next(ctx, in)
	}
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, s.log, "guard", fault)
			out, err = s.refusal(request), nil
		}
	}()
	out, err = next(ctx, in)
	response, _ := out.(*CheckResponse)
	if why := s.misshapen(response, err); why != "" {
		s.log.ErrorContext(ctx, "invalid response replaced with a denial", slog.String("problem", why))
		return s.refusal(request), nil
	}
	return response, nil
}

// refusal returns the denial that is sent when there is no valid response.
func (s *Server) refusal(in *CheckRequest) *CheckResponse {
	return s.responseFor(authz.Deny(authz.ReasonInternal), in, nil)
}

// misshapen returns why a response must not be sent, or "" if it may be sent.
func (s *Server) misshapen(r *CheckResponse, err error) string {
	switch {
	case err != nil:
		return "an error"
	case r == nil:
		return "the response is empty"
	case !r.about.valid():
		return "metadata is not UTF-8"
	case r.status == http.StatusOK && r.about[0] == authz.VerdictWouldDeny && r.shadow && len(r.set) == 0:
		return s.shadowed.misshapenYes(r)
	case r.status == http.StatusOK && r.about[0] != authz.VerdictAllow:
		return "the status is OK, but the decision is not allow"
	case r.status == http.StatusOK:
		return s.identityIn(r.shadow).misshapenYes(r)
	case r.about[0] != authz.VerdictDeny:
		return "the status is an error, but the decision is not deny"
	}
	if _, known := denialsOnWire[denialKey{r.status, r.challenge, r.form}]; !known || r.origin != "" && !validOrigin(r.origin) || len(r.set)+len(r.remove) > 0 ||
		!r.page.valid(r.status) || r.page != (page{}) && r.form != formProblem {
		return "not one of the fixed denials"
	}
	return ""
}

// misshapenYes returns why an allow response must not be sent, or "" if it may be sent. The
// response has to set or remove every identity header, and must not set any other header.
func (id *identity) misshapenYes(r *CheckResponse) string {
	if r.challenge != "" || r.origin != "" {
		return "an allow response with a challenge or an origin"
	}
	for i, h := range r.set {
		switch {
		case !id.owns(h.name) && !id.withheld.rewrites(h.name):
			return "sets a header that is not an identity header"
		case i > 0 && h.name <= r.set[i-1].name:
			return "sets a header twice"
		case h.value == "" || !safeValue(h.value):
			return "sets a header to a value that Envoy would change"
		case r.removes(h.name):
			return "removes a header that it sets"
		}
	}
	for i, name := range r.remove {
		if !authz.IsToken(name) || name == "host" || i > 0 && name <= r.remove[i-1] {
			return "removes a header that cannot be removed, or the list is not sorted"
		}
	}
	for name := range id.owned() {
		if !r.removes(name) && !slices.ContainsFunc(r.set, func(h setHeader) bool { return h.name == name }) {
			return "does not remove an identity header of the client"
		}
	}
	return id.letsThrough(r.remove)
}

// letsThrough returns a problem if remove lacks a header that must be removed from every
// request, and "" otherwise. Both lists are sorted.
func (id *identity) letsThrough(remove []string) string {
	always := id.remove
	for _, name := range remove {
		if len(always) > 0 && always[0] == name {
			always = always[1:]
		}
	}
	if len(always) > 0 {
		return "does not remove a header that must be removed"
	}
	return ""
}

func (r *CheckResponse) removes(name string) bool {
	_, found := slices.BinarySearch(r.remove, name)
	return found
}
