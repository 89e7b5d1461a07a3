package envoy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// installed is where `make tools` installs Envoy, relative to the directory that contains
// go.mod.
const installed = ".tools/venv/lib/python3*/site-packages/envoy/_bin/envoy"

// FindBinary returns the path of an Envoy binary. It returns the explicit one if it is given,
// otherwise the one on PATH, and otherwise the one that `make tools` installed. It searches for
// the last in the working directory and its parents, up to the directory that contains go.mod.
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
