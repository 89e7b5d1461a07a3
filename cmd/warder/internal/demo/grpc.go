package demo

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// An askingTransport takes the place of Envoy in the tour. It asks warder about each
// request, and forwards allowed requests with the headers that warder sets. It implements
// only the parts of Envoy that the tour needs.
type askingTransport struct {
	conn   *grpc.ClientConn
	checks authv3.AuthorizationClient
}

func newAskingTransport(address string) (*askingTransport, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &askingTransport{conn, authv3.NewAuthorizationClient(conn)}, nil
}

func (t *askingTransport) Close() { _ = t.conn.Close() }

// RoundTrip implements http.RoundTripper.
func (t *askingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	headers := map[string]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	answer, err := t.checks.Check(r.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1}},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: r.Method, Host: r.URL.Host, Path: r.URL.RequestURI(), Headers: headers,
		}},
	}})
	if err != nil {
		return nil, err
	}
	allowed := answer.GetOkResponse()
	if allowed == nil {
		return refusal(r, answer.GetDeniedResponse()), nil
	}
	forwarded := r.Clone(r.Context())
	for _, h := range allowed.GetHeaders() {
		forwarded.Header.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
	}
	for _, name := range allowed.GetHeadersToRemove() {
		forwarded.Header.Del(name)
	}
	return http.DefaultTransport.RoundTrip(forwarded)
}

// refusal returns the response to a denied request. The status defaults to 403, as in Envoy.
func refusal(r *http.Request, denied *authv3.DeniedHttpResponse) *http.Response {
	status := int(denied.GetStatus().GetCode())
	if status == 0 {
		status = http.StatusForbidden
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{}, Request: r,
		Body: io.NopCloser(bytes.NewReader([]byte(denied.GetBody()))),
	}
}
