// Package cli holds what all commands share: the environment, standard input and output,
// usage errors, common flags, text and JSON output, and problems with the files that a
// command reads.
//
// Every command uses it, and so do the packages below them. It knows no single command,
// reads no configuration and never calls [os.Exit].
package cli
