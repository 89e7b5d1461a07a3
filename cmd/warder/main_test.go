package main

import (
	"os"
	"testing"
)

// asProgram in the environment makes this test binary the program.
const asProgram = "WARDER_TEST_AS_PROGRAM"

// TestMain makes this test binary the program when the environment says so, so
// that the program under test has the race detector when the tests have it.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
