package traces

import (
	"path/filepath"
	"strings"
	"testing"

	"warder/cmd/warder/internal/clitest"
)

const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"

// TestReadOff tests which variables turn traces on.
func TestReadOff(t *testing.T) {
	t.Parallel()
	for words, on := range map[string]bool{
		"":                                   false,
		"OTEL_SERVICE_NAME=x":                false,
		"OTEL_TRACES_SAMPLER=always_on":      false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=":       false,
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":   false,
		"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=x": false,
		"OTEL_TRACES_EXPORTER=otlp":          true,
		endpoint:                             true,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c/v1/traces": true,
		endpoint + " OTEL_TRACES_EXPORTER=none":                  false,
		endpoint + " OTEL_SDK_DISABLED=true":                     false,
		endpoint + " OTEL_SDK_DISABLED=TRUE":                     false,
		endpoint + " OTEL_SDK_DISABLED=false":                    true,
		// What is off is not checked.
		"OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_ENDPOINT=x": false,
	} {
		s, err := Read(clitest.Environment(strings.Fields(words)...))
		if err != nil || (s != nil) != on {
			t.Errorf("%q: on is %v with %v, want %v", words, s != nil, err, on)
		}
	}
}

func TestReadSettings(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]Settings{
		"":                                 {protocol: "http/protobuf", continues: true},
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc": {protocol: "grpc", continues: true},
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf": {protocol: "http/protobuf", continues: true},
		"OTEL_PROPAGATORS=none":                    {protocol: "http/protobuf"},
		"OTEL_PROPAGATORS=b3,tracecontext,baggage": {protocol: "http/protobuf", continues: true},
	} {
		s, err := Read(clitest.Environment(append(strings.Fields(words), endpoint)...))
		if err != nil || s.protocol != want.protocol || s.continues != want.continues {
			t.Errorf("%q: %+v %v, want %+v", words, s, err, want)
		}
	}
	for words, want := range map[string]string{
		"":                               "ParentBased{root:AlwaysOffSampler,",
		"OTEL_TRACES_SAMPLER_ARG=0.5":    "ParentBased{root:AlwaysOffSampler,",
		"OTEL_TRACES_SAMPLER=always_on":  "AlwaysOnSampler",
		"OTEL_TRACES_SAMPLER=always_off": "AlwaysOffSampler",
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.25":            "TraceIDRatioBased{0.25}",
		"OTEL_TRACES_SAMPLER=traceidratio":                                         "TraceIDRatioBased{1}",
		"OTEL_TRACES_SAMPLER=parentbased_always_on":                                "ParentBased{root:AlwaysOnSampler,",
		"OTEL_TRACES_SAMPLER=parentbased_always_off":                               "ParentBased{root:AlwaysOffSampler,",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.5": "ParentBased{root:TraceIDRatioBased{0.5},",
	} {
		s, err := Read(clitest.Environment(append(strings.Fields(words), endpoint)...))
		if err != nil || !strings.HasPrefix(s.sampler.Description(), want) {
			t.Errorf("%q: %+v %v, want %s", words, s, err, want)
		}
	}
}

// TestReadProblems tests that each invalid variable is named, and that no message repeats what
// could be a secret.
func TestReadProblems(t *testing.T) {
	t.Parallel()
	const secret = "c4n4ry-collector"
	for _, row := range []struct{ word, want string }{
		{"OTEL_TRACES_EXPORTER=zipkin", "use otlp, none"},
		{"OTEL_SDK_DISABLED=yes", "neither true nor false"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317", "such as http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector", "such as http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://", "such as http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=grpc://c:4317", "such as http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:" + secret + "@c:4317", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:" + secret + "@c:43x", "such as"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=http", "use grpc, http/protobuf, http/json"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=GRPC", "use grpc, http/protobuf, http/json"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "use gzip, none"},
		{"OTEL_EXPORTER_OTLP_INSECURE=1", "neither true nor false"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT=10s", "whole number"},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=-1", "whole number"},
		{"OTEL_BSP_MAX_QUEUE_SIZE=many", "whole number"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + filepath.Join(t.TempDir(), "ca.pem"), "cannot be read"},
		{"OTEL_EXPORTER_OTLP_HEADERS=authorization:" + secret, "entry 1 is not key=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS=a=b,authorization=%zz" + secret, "entry 2 is not key=value"},
		{"OTEL_RESOURCE_ATTRIBUTES=team", "entry 1 is not key=value"},
		{"OTEL_PROPAGATORS=b3", "add it, or use none"},
		{"OTEL_TRACES_SAMPLER=sometimes", "parentbased_traceidratio"},
		{"OTEL_TRACES_SAMPLER_ARG=2", "from 0 to 1"},
		{"OTEL_TRACES_SAMPLER_ARG=NaN", "from 0 to 1"},
	} {
		name, _, _ := strings.Cut(row.word, "=")
		s, err := Read(clitest.Environment(row.word, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://localhost:4318", endpoint))
		if err == nil || s != nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v %v, want %q", row.word, s, err, row.want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the message repeats the secret: %v", row.word, err)
		}
	}
}
