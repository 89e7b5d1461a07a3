package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A program is warder compiled for one platform.
type program struct {
	data []byte
	// info is what the compiler recorded in it: its modules, and the commit if
	// the source is a Git checkout.
	info *debug.BuildInfo
}

// compile builds warder for a platform. -trimpath keeps the folder out of the
// program; -buildvcs=auto puts the commit in, which "warder version" prints.
func compile(ctx context.Context, source string, platform v1.Platform) (program, error) {
	dir, err := os.MkdirTemp("", "warder-image-")
	if err != nil {
		return program{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "warder")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=auto", "-mod=readonly", "-ldflags=-s -w -buildid=", "-o", file, "./cmd/warder")
	cmd.Dir = source
	// Of the variables that change what the compiler makes, those below have one
	// value here; GOFLAGS and the instruction sets are not taken from the environment.
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "GOAMD64=v1", "GOARM64=v8.0",
		"GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("go build: %w\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return program{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return program{}, err
	}
	return program{data: data, info: info}, nil
}

// setting returns one setting of the build, or "".
func (p program) setting(key string) string {
	for _, s := range p.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// revision returns the commit, or "" if there is none or the source had changes.
func (p program) revision() string {
	if p.setting("vcs.modified") == "true" {
		return ""
	}
	return p.setting("vcs.revision")
}

// version returns the version of warder, or "" if the source is not a Git checkout.
func (p program) version() string {
	if p.info.Main.Version == "(devel)" {
		return ""
	}
	return p.info.Main.Version
}

// created returns the time of the commit, or 1970 without one: never the clock.
func (p program) created() (time.Time, error) {
	text := p.setting("vcs.time")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	return time.Parse(time.RFC3339, text)
}
