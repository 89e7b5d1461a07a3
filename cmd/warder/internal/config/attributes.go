package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ClaimedAttributes returns the names of the attributes that tokens of any issuer may have.
func (s JWT) ClaimedAttributes() []string {
	all := map[string]bool{}
	add := func(of map[string]string) {
		for name := range of {
			all[name] = true
		}
	}
	if slices.ContainsFunc(s.Keys, func(k JWTKey) bool { return k.Issuer == 0 }) {
		add(s.Attributes)
	}
	for _, is := range s.Issuers {
		if is.Attributes == nil {
			add(s.Attributes)
		} else {
			add(is.Attributes)
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Unsupplied returns a warning for each attribute with a header that neither a claim nor one of the
// columns of the directory supplies.
func (s *Settings) Unsupplied(columns []string) (warnings []string) {
	for _, name := range s.unsupplied(columns) {
		warnings = append(warnings, fmt.Sprintf("identity.attributes.%s %s", name, unsuppliedText(name)))
	}
	return warnings
}

func unsuppliedText(name string) string {
	return fmt.Sprintf("is sent to the application, and nothing supplies the attribute %s: neither a claim in jwt.attributes nor a column of directory.users_query or directory.api_keys_query; "+
		"add one, or leave it out", name)
}

func (s *Settings) unsupplied(columns []string) []string {
	known := append(s.JWT.ClaimedAttributes(), columns...)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.Identity.Attributes)), func(name string) bool { return slices.Contains(known, name) })
}

// AttributesKnown returns the attributes of a directory in a file. known is false for a database,
// which has to be asked.
func (d Directory) AttributesKnown() (users, apiKeys []string, known bool) {
	if d.File == "" {
		return nil, nil, false
	}
	file, err := OpenDirectory(d)
	if err != nil || file == nil {
		return nil, nil, false // reported elsewhere
	}
	users, apiKeys = file.Attributes()
	if d.UsersInTokens { // those of the file are of the owners of API keys
		users = nil
	}
	return users, apiKeys, true
}

// warnUnsupplied warns about headers for attributes that nothing supplies, as far as this is known
// without asking the database.
func (c *Config) warnUnsupplied(s *Settings) {
	if users, apiKeys, known := s.Directory.AttributesKnown(); known {
		for _, name := range s.unsupplied(append(users, apiKeys...)) {
			c.reader.warn("identity.attributes."+name, "%s", strings.Replace(unsuppliedText(name), "a column of directory.users_query or directory.api_keys_query", "attributes of users or API keys in directory.file", 1))
		}
	}
}
