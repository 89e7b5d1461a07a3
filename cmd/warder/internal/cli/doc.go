// Package cli is a process and its streams as a command sees them: the environment,
// standard input and output, usage errors, the flags that several commands have, text
// and JSON output, and problems with the files of a run.
//
// Every command uses it, and so do the packages below them. It knows no command, reads
// no configuration and never calls [os.Exit].
package cli
