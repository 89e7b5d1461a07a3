package main

import (
	"os"

	_ "time/tzdata" // conditions name time zones, and the container image has no zone files

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/server"
)

func main() {
	server.SilenceLibraries()
	os.Exit(run(os.Args[1:], cli.Process{
		Env:    os.LookupEnv,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
	}))
}
