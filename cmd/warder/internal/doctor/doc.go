// Package doctor is the command warder doctor: it examines a configuration, the stores that it
// names and one credential, and says what is broken or risky and where that is decided.
//
// Package main adds the command. The package only reads, decides by the engine of the service,
// and prints no secret.
package doctor
