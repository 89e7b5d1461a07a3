// Package mask keeps secrets out of logs and output. A [Secret] prints as [Replacement]
// everywhere. A [Masker] finds and replaces secrets in text. [NewHandler] masks slog
// records, and [NewWriter] and [NewJSONWriter] mask streams. No other package decides what a
// secret looks like or what replaces it.
//
// Packages that hold secrets, or write text that may contain one, call it. It imports only
// the standard library, reads no configuration and opens no files.
package mask
