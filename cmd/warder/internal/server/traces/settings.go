package traces

import (
	"errors"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"warder/authz"
)

// Settings are the OTEL_* variables that warder reads itself. The SDK of OpenTelemetry reads
// the others from the environment of the process.
type Settings struct {
	protocol  string
	sampler   sampler
	continues bool // the trace of the caller is continued
	secrets   []string
}

// The values of OTEL_EXPORTER_OTLP_PROTOCOL.
const (
	protocolGRPC     = "grpc"
	protocolProtobuf = "http/protobuf"
	protocolJSON     = "http/json"
)

// Read reads the OTEL_* variables. It returns nil if traces are off: unless an endpoint or
// OTEL_TRACES_EXPORTER=otlp is set, and with OTEL_SDK_DISABLED=true. An invalid variable is an
// error, although the specification says to ignore it, because otherwise the traces that
// somebody wanted would just be missing. Empty variables count as unset. The error contains all
// problems.
func Read(env func(name string) (value string, set bool)) (*Settings, error) {
	r := reader{env: env}
	if r.flag("OTEL_SDK_DISABLED") {
		return nil, r.err()
	}
	exporter := r.word("OTEL_TRACES_EXPORTER", "otlp", "none")
	endpoints := []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
	if exporter == "none" || exporter == "" && r.first(endpoints...) == "" {
		return nil, r.err()
	}
	for _, name := range endpoints {
		r.endpoint(name)
	}
	s := &Settings{protocol: protocolProtobuf, sampler: r.sampler(), continues: r.propagators()}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if p := r.word(name, protocolGRPC, protocolProtobuf, protocolJSON); p != "" {
			s.protocol = p
		}
	}
	for _, part := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"} {
		r.word(part+"COMPRESSION", "gzip", "none")
		r.flag(part + "INSECURE")
		r.number(part + "TIMEOUT")
		for _, file := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
			r.file(part + file)
		}
		s.secrets = append(s.secrets, r.headers(part+"HEADERS")...)
	}
	for _, name := range []string{"SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"} {
		r.number("OTEL_BSP_" + name)
	}
	r.pairs("OTEL_RESOURCE_ATTRIBUTES")
	if err := r.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// A reader reads variables and collects their problems. The messages do not repeat values that
// could hold a secret.
type reader struct {
	env      func(string) (string, bool)
	problems []error
}

func (r *reader) err() error { return errors.Join(r.problems...) }

func (r *reader) value(name string) string {
	value, _ := r.env(name)
	return strings.TrimSpace(value)
}

func (r *reader) first(names ...string) string {
	for _, name := range names {
		if value := r.value(name); value != "" {
			return value
		}
	}
	return ""
}

func (r *reader) problem(name, format string, args ...any) {
	r.problems = append(r.problems, authz.Misconfigured(name, format, args...))
}

// word returns one of the words, or "".
func (r *reader) word(name string, words ...string) string {
	value := r.value(name)
	if value != "" && !slices.Contains(words, value) {
		r.problem(name, "%.40q is not supported; use %s", value, strings.Join(words, ", "))
		return ""
	}
	return value
}

func (r *reader) flag(name string) bool {
	switch value := r.value(name); {
	case strings.EqualFold(value, "true"):
		return true
	case value != "" && !strings.EqualFold(value, "false"):
		r.problem(name, "%.40q is neither true nor false", value)
	}
	return false
}

func (r *reader) number(name string) {
	if value := r.value(name); value != "" {
		if n, err := strconv.Atoi(value); err != nil || n < 0 {
			r.problem(name, "%.40q is not a whole number of 0 or more", value)
		}
	}
}

func (r *reader) endpoint(name string) {
	value := r.value(name)
	if value == "" {
		return
	}
	u, err := url.Parse(value)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		r.problem(name, "it is not the URL of a collector; use one such as http://localhost:4318, or https:// for TLS")
	case u.User != nil:
		r.problem(name, "a user and a password in the URL are not sent; use OTEL_EXPORTER_OTLP_HEADERS")
	}
}

func (r *reader) file(name string) {
	if value := r.value(name); value != "" {
		if _, err := os.ReadFile(value); err != nil {
			r.problem(name, "the file cannot be read: %v", err)
		}
	}
}

// pairs reads a list of key=value with commas. Keys and values may be percent-encoded.
func (r *reader) pairs(name string) (values []string) {
	text := r.value(name)
	if text == "" {
		return nil
	}
	for n, pair := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		plain, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || strings.TrimSpace(key) == "" || err != nil {
			r.problem(name, "entry %d is not key=value, with %%XX for characters such as a comma", n+1)
			continue
		}
		values = append(values, plain)
	}
	return values
}

// headers returns the values of the header fields that are sent to the collector, which may be
// secrets. Each value is split, because the secret may follow a scheme such as Bearer.
func (r *reader) headers(name string) (secrets []string) {
	for _, value := range r.pairs(name) {
		secrets = append(append(secrets, value), strings.Fields(value)...)
	}
	return secrets
}

// propagators reports whether the trace context of the caller is used.
func (r *reader) propagators() bool {
	const name = "OTEL_PROPAGATORS"
	value := r.value(name)
	words := strings.Split(strings.ReplaceAll(value, " ", ""), ",")
	switch {
	case value == "", slices.Contains(words, "tracecontext"):
		return true
	case value != "none":
		r.problem(name, "%.80q does not contain tracecontext, which is what warder reads; add it, or use none", value)
	}
	return false
}

// A sampler decides which checks are recorded. Most checks are not, and the two flags tell
// without asking it.
type sampler struct {
	sdktrace.Sampler
	parentBased bool // a check with a parent is recorded if its parent is
	rootOff     bool // a check without a parent is not recorded
}

// drops reports whether a check cannot be recorded.
func (s sampler) drops(hasParent, parentSampled bool) bool {
	if hasParent {
		return s.parentBased && !parentSampled
	}
	return s.rootOff
}

// sampler returns the sampler. The default of the SDK, parentbased_always_on, would start a
// trace for each request that nobody traces.
func (r *reader) sampler() sampler {
	const name, arg = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	ratio := 1.0
	if value := r.value(arg); value != "" {
		var err error
		if ratio, err = strconv.ParseFloat(value, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			r.problem(arg, "%.40q is not a number from 0 to 1", value)
		}
	}
	switch r.word(name, "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio") {
	case "always_on":
		return sampler{Sampler: sdktrace.AlwaysSample()}
	case "always_off":
		return sampler{Sampler: sdktrace.NeverSample(), rootOff: true}
	case "traceidratio":
		return sampler{Sampler: sdktrace.TraceIDRatioBased(ratio)}
	case "parentbased_always_on":
		return sampler{Sampler: sdktrace.ParentBased(sdktrace.AlwaysSample()), parentBased: true}
	case "parentbased_traceidratio":
		return sampler{Sampler: sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), parentBased: true}
	}
	return sampler{Sampler: sdktrace.ParentBased(sdktrace.NeverSample()), parentBased: true, rootOff: true}
}
