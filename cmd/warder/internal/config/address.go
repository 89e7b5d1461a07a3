package config

import (
	"os"

	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// AdminAddress reads no more of a configuration than it needs: secrets may be
// out of reach for a health check.
func AdminAddress(path string, env cli.LookupEnv) (Address, error) {
	if _, err := os.Stat(path); path != "" && err != nil {
		return Address{}, cli.Problems{{Position: strict.Position{File: path}, Message: cli.Bare(err).Error()}}
	}
	c := Read(path, env)
	c.reader.Problems = nil
	a, ok := c.resolveAddress("listen.admin", c.Listen.Admin)
	if !ok {
		return Address{}, c.reader.Problems.Err()
	}
	return a, nil
}
