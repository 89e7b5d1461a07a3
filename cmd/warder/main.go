package main

import (
	"os"

	_ "time/tzdata" // conditions name time zones, and the image has none
)

func main() {
	silenceLibraries()
	os.Exit(run(os.Args[1:], process{
		env:    os.LookupEnv,
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
	}))
}
