package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"warder/authz"
	"warder/cmd/warder/internal/admin"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
)

const (
	// maxQuestion is the maximum size of a question, in bytes. It is larger than any
	// CheckRequest that Envoy sends without a body.
	maxQuestion = 1 << 20
	// maxAnswer is the maximum size of an answer, in bytes.
	maxAnswer = 16 << 20
	// explainTime is the maximum time to wait for a running warder.
	explainTime = 10 * time.Second
)

// A question is the body of POST /explain: a CheckRequest and the values of the flags of
// warder explain.
type question struct {
	CheckRequest json.RawMessage  `json:"check_request"`
	ClientIP     string           `json:"client_ip,omitempty"`
	Principal    string           `json:"principal,omitempty"`
	User         string           `json:"as_user,omitempty"`
	Roles        []string         `json:"roles,omitempty"`
	Claims       json.RawMessage  `json:"claims,omitempty"`
	APIKey       bool             `json:"as_api_key,omitempty"`
	Scopes       []string         `json:"scopes,omitempty"`
	Attributes   []string         `json:"attributes,omitempty"` // NAME=VALUE
	Output       cli.OutputFormat `json:"output,omitempty"`     // JSON if absent
}

// A Handler answers POST /explain by the current policy. It has no secrets and sends no
// requests to stores, so it cannot reveal whether a credential is valid: it accepts the
// principal that the question names. It answers only clients on the same machine, because
// knowledge of the policy would help an attacker.
type Handler struct {
	engine   *authz.Engine
	settings Settings      // without the policy
	busy     chan struct{} // a semaphore: one question at a time
}

// NewHandler returns a Handler. The settings are those of the server, without the policy.
func NewHandler(engine *authz.Engine, settings Settings) *Handler {
	return &Handler{engine, settings, make(chan struct{}, 1)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case !fromHere(r):
		admin.Answer(w, http.StatusForbidden, "/explain answers only requests from its own machine; use kubectl port-forward or kubectl exec")
		return
	case kind != "application/json" || r.Header.Get("Origin") != "":
		// A web page cannot send this content type without a CORS preflight, which fails here.
		admin.Answer(w, http.StatusUnsupportedMediaType, "the question is not application/json; use warder explain --url")
		return
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		admin.Answer(w, http.StatusServiceUnavailable, "another question is being answered; ask again")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err != nil {
		admin.Answer(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the question is larger than %d KiB, or broke off", maxQuestion>>10))
		return
	}
	options, in, output, why := readQuestion(body)
	if why != "" {
		admin.Answer(w, http.StatusBadRequest, why)
		return
	}
	settings := h.settings
	settings.Policy = h.engine.Policy()
	x, err := options.explain(r.Context(), in, settings)
	if err != nil {
		admin.Answer(w, http.StatusBadRequest, err.Error())
		return
	}
	var out bytes.Buffer
	_ = x.write(&out, output) // writes to a buffer do not fail
	w.Header().Set("Content-Type", map[cli.OutputFormat]string{cli.OutputJSON: "application/json", cli.OutputText: "text/plain; charset=utf-8"}[output])
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(out.Bytes())
}

// passedOn are header fields that proxies add. A request with one of them is not local, even
// if the proxy runs on this machine.
var passedOn = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "X-Envoy-External-Address"}

// fromHere reports whether a request comes from this machine or through a unix socket.
func fromHere(r *http.Request) bool {
	if slices.ContainsFunc(passedOn, func(name string) bool { return len(r.Header[name]) > 0 }) {
		return false
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && slices.Contains(ownAddresses, peer.Addr().Unmap())
}

// ownAddresses are the source addresses that local programs use by default. All of 127.0.0.0/8
// would be too wide: Istio forwards connections from other pods with the source 127.0.0.6.
var ownAddresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// readQuestion parses a question, or returns why it is invalid.
func readQuestion(body []byte) (o *options, in *authv3.CheckRequest, output cli.OutputFormat, why string) {
	var q question
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil || d.More() {
		return nil, nil, "", "the question is not a JSON object with check_request, client_ip, principal, as_user, roles, claims, as_api_key, scopes, attributes, output"
	}
	in, why = decodeCaptured(q.CheckRequest)
	if why != "" {
		return nil, nil, "", "check_request " + why
	}
	o = &options{clientIP: q.ClientIP, principal: q.Principal, user: q.User, roles: q.Roles, claims: string(q.Claims), apiKey: q.APIKey, scopes: q.Scopes, attributes: q.Attributes}
	if why := o.whyNot(); why != "" {
		return nil, nil, "", why
	}
	switch q.Output {
	case "":
		q.Output = cli.OutputJSON
	case cli.OutputJSON, cli.OutputText:
	default:
		return nil, nil, "", fmt.Sprintf("output is %q; use text or json", string(q.Output))
	}
	return o, in, q.Output, ""
}

// adminOf parses the URL of an admin listener: http://host:port or unix:///path. For a unix
// socket, it also returns the address to dial.
func adminOf(target string) (base string, socket config.Address, why string) {
	u, err := url.Parse(target)
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return "http://localhost", config.Address{Network: "unix", Address: u.Path}, ""
	case err == nil && u.Scheme == "http" && u.Host != "" && u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "":
		return "http://" + u.Host, config.Address{}, ""
	}
	return "", config.Address{}, "is not the address of an admin listener; write one such as http://127.0.0.1:9192, or unix:///run/warder/admin.sock"
}

// askRunning sends the question to a running warder and writes its answer to out.
func askRunning(ctx context.Context, out io.Writer, o options, in *authv3.CheckRequest, output cli.OutputFormat) error {
	captured, err := protojson.Marshal(in)
	if err != nil {
		return fmt.Errorf("the request cannot be written as JSON: %w", err)
	}
	question, err := json.Marshal(question{
		CheckRequest: captured, ClientIP: o.clientIP, Principal: o.principal, User: o.user, Roles: o.roles,
		Claims: json.RawMessage(o.claims), APIKey: o.apiKey, Scopes: o.scopes, Attributes: o.attributes, Output: output,
	})
	if err != nil {
		return fmt.Errorf("the question cannot be written as JSON: %w", err)
	}
	base, socket, _ := adminOf(o.url) // was checked before
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/explain", bytes.NewReader(question))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := admin.Client(socket).Do(request)
	if err != nil {
		return admin.NoAnswer(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("the answer could not be read in full: %w", err)
	case response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusMethodNotAllowed:
		return errors.New("the server at this address has no /explain; give the admin listener of a warder of this version")
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	if _, err := out.Write(body); err != nil {
		return fmt.Errorf("writing the explanation: %w", err)
	}
	return nil
}
