// Package mask owns what a secret looks like, to a reader of logs and output: a
// [Secret] prints as [Replacement] wherever it ends up, a [Masker] finds secrets
// in texts that are already written, and no other package decides what stands in
// a secret's place. [NewHandler] masks what goes through slog, [NewWriter] and
// [NewJSONWriter] what goes through a stream.
//
// It is called by whoever holds a secret or writes text that may hold one. It
// uses the standard library only, reads no configuration, and never opens or
// writes a file itself.
package mask
