package config

import (
	"os"

	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// AdminAddress returns the address of the admin listener. It ignores all other problems of the
// configuration, because a health check may not have access to the secrets.
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
