package cli

import (
	"runtime"
	"runtime/debug"
)

// A build holds what the compiler recorded about this program.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (b build) String() string {
	s := "warder " + b.Version
	if b.Commit != "" {
		s += " " + b.Commit
		if b.Modified {
			s += " (modified)"
		}
	}
	return s + " " + b.Go + " " + b.Platform
}

// ReadBuild returns what the compiler recorded about this program.
func ReadBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
