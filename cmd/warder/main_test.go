package main

import (
	"os"
	"testing"
)

// asProgram is the environment variable that makes this test binary run as warder.
const asProgram = "WARDER_TEST_AS_PROGRAM"

// TestMain runs this test binary as warder when asProgram is set. The program under test
// then has the race detector whenever the tests have it.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}
