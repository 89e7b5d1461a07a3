package envoy

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"warder/authz"
)

// TestSummary tests the metadata in both forms as Envoy decodes it, and that the access log reads
// the same values from each. A value with a space would read as two, so that its metadata has
// the form of fields always.
func TestSummary(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("u", 300)
	for _, test := range []struct {
		summary string // "" if the values are sent one by one
		about   metadata
	}{
		{"decision=allow reason=session route=users user=42 auth_method=session client_ip=203.0.113.9",
			metadata{"allow", "session", "users", "42", "session", "", "203.0.113.9"}},
		{"decision=allow reason=api_key route=keys user=a=b auth_method=api_key key_prefix=wk= client_ip=::1",
			metadata{"allow", "api_key", "keys", "a=b", "api_key", "wk=", "::1"}},
		{"decision=deny reason=request_malformed", metadata{"deny", "request_malformed"}},
		{"decision=allow reason=session user=" + long, metadata{0: "allow", 1: "session", 3: long}},
		{"decision=allow user=é\n\t\"", metadata{0: "allow", 3: "é\n\t\""}},
		{"", metadata{0: "allow", 1: "session", 3: "a decision=deny"}},
		{"", metadata{0: "allow", 1: "api_key", 5: " "}},
	} {
		for _, summary := range []bool{true, false} {
			response := allowResponse(nil, nil, false, test.about)
			response.summary = summary
			message := new(authv3.CheckResponse)
			if err := proto.Unmarshal(response.appendTo(nil), message); err != nil {
				t.Fatalf("%q: %v", test.about, err)
			}
			want := map[string]string{"summary": test.summary}
			if !summary || test.summary == "" {
				want = map[string]string{}
				for i, value := range test.about {
					if value != "" {
						want[metadataKeys[i]] = value
					}
				}
			}
			got := map[string]string{}
			for key := range message.GetDynamicMetadata().GetFields() {
				got[key] = saidOf(message, key)
			}
			if len(got) != len(want) {
				t.Errorf("%q, summary %v: %v", test.about, summary, got)
			}
			for key, value := range want {
				if got[key] != value {
					t.Errorf("%q, summary %v: %s is %q, want %q", test.about, summary, key, got[key], value)
				}
			}
			entry := usualEntry(t)
			entry.CommonProperties.Metadata.FilterMetadata = map[string]*structpb.Struct{metadataNamespace: message.GetDynamicMetadata()}
			var read accessEntry
			if !read.decode(marshaled(t, entry)) || read.decided != test.about {
				t.Errorf("%q, summary %v: the access log reads %q", test.about, summary, read.decided)
			}
		}
	}
}

// TestSummaryOfResponses tests that every response has the summary if it is configured, that it
// says the same as the fields, and that the rest of the response is the same.
func TestSummaryOfResponses(t *testing.T) {
	t.Parallel()
	fields, summary := newTestServer(t, Config{}), newTestServer(t, Config{Summary: true})
	for path, credential := range map[string]authz.Header{
		"/users/x": {Name: "authorization", Value: bearer(t)}, "/keys/x": {Name: "x-api-key", Value: adaKey}, "/public/x": {Name: "a", Value: "b"},
		"/watched/x": {Name: "a", Value: "b"}, "/admin/x": {Name: "authorization", Value: bearer(t)}, "/nowhere": {Name: "a", Value: "b"}, "//": {Name: "a", Value: "b"},
	} {
		in := checkRequest("GET", path, credential)
		one, all := check(t.Context(), t, summary, in), check(t.Context(), t, fields, in)
		var pairs []string
		for _, key := range metadataKeys {
			if value := saidOf(all, key); value != "" {
				pairs = append(pairs, key+"="+value)
			}
		}
		if got := saidOf(one, "summary"); got != strings.Join(pairs, " ") || len(one.GetDynamicMetadata().GetFields()) != 1 {
			t.Errorf("%s: %v, want %s", path, one.GetDynamicMetadata(), strings.Join(pairs, " "))
		}
		one.DynamicMetadata, all.DynamicMetadata = nil, nil
		if !proto.Equal(one, all) {
			t.Errorf("%s: the response is %v, want %v", path, one, all)
		}
	}
}

// TestEncodeAllocations tests that encoding a response allocates nothing.
func TestEncodeAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for _, summary := range []bool{false, true} {
		s := newTestServer(t, Config{Summary: summary})
		response := s.Check(t.Context(), decoded(t, usualSession(t)))
		buffer := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { buffer = response.appendTo(buffer[:0]) }); n > 0 {
			t.Errorf("summary %v: encoding makes %v allocations", summary, n)
		}
	}
}
