// Package traces sends spans about checks and about their questions to the stores to an
// OpenTelemetry collector. It is set up by the standard OTEL_* variables and is off unless they
// say otherwise. [Read] reads the variables and [Start] starts the exporter.
//
// The server wraps its stores and registers the [Tracing] with package envoy. A span holds names
// that the policy or warder defines and nothing else of a request: no path, header, address,
// user or credential. An unreachable collector never delays a check.
package traces
