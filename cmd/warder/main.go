package main

import "os"

func main() {
	silenceLibraries()
	os.Exit(run(os.Args[1:], process{
		env:    os.LookupEnv,
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
	}))
}
