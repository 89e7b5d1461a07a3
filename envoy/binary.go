package envoy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// installed is where `make tools` puts Envoy, from the folder that holds go.mod.
const installed = ".tools/venv/lib/python3*/site-packages/envoy/_bin/envoy"

// FindBinary returns the path of an Envoy: the explicit one when it is given, else
// the one on PATH, else the one that `make tools` installed in the working folder
// or in one above it, up to the folder of go.mod.
func FindBinary(explicit string) (string, error) {
	if explicit != "" {
		path, err := exec.LookPath(explicit)
		if err != nil {
			return "", fmt.Errorf("no Envoy at %s: %w", explicit, errors.Unwrap(err))
		}
		return path, nil
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("no Envoy on PATH, and the working folder is unknown: %w", err)
	}
	for {
		found, err := filepath.Glob(filepath.Join(dir, installed))
		if err == nil && len(found) > 0 {
			return found[0], nil
		}
		_, err = os.Stat(filepath.Join(dir, "go.mod"))
		up := filepath.Dir(dir)
		if err == nil || up == dir {
			return "", errors.New("no Envoy on PATH or below .tools/venv; run make tools, or name one")
		}
		dir = up
	}
}
