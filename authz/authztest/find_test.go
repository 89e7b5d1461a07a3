package authztest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Debian's redis-server is a symlink to redis-check-rdb, which is a server only if it is
// started by the name of the symlink.
func TestProgramIsStartedByItsName(t *testing.T) {
	folder := t.TempDir()
	script := "#!/bin/sh\ncase \"$0\" in *-server) echo 'v=7.0.0' ;; *) exit 1 ;; esac\n"
	if err := os.WriteFile(filepath.Join(folder, "check-rdb"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(folder, "some-server")
	if err := os.Symlink("check-rdb", link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	found := program{names: []string{"some-server"}, venv: "none", minimum: 6}.find(t)
	if found != link {
		t.Errorf("found %s, want %s", found, link)
	}
	if out, err := exec.Command(found).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
