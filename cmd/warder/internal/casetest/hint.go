package casetest

import (
	"strings"
	"unicode"

	"warder/authz/attribute"
	"warder/authz/policytest"
	"warder/cmd/warder/internal/explain"
)

// explainCommand returns the command line that explains the request of a case. It returns
// "" if there is none: explain sends valid credentials only.
func (t *run) explainCommand(c *policytest.Case, x explain.Answer, tested *testedPolicy) string {
	if tested.path == "" || c.ChosenRoute != nil || c.Token != nil || c.Now != "" {
		return ""
	}
	method, path, _ := strings.Cut(c.Request, " ")
	words := []string{"warder", "explain", "-p", tested.path}
	if t.options.configPath != "" {
		words = append(words, "-c", t.options.configPath)
	}
	words = append(words, method, "https://"+c.Host+path)
	f := c.File()
	if c.AsUser != "" {
		for _, u := range f.Users {
			if user := u.User(f.UserAttributes()); u.ID == c.AsUser {
				if !user.Active {
					return ""
				}
				words = append(words, "--as-user", u.ID)
				if len(user.Roles) > 0 {
					words = append(words, "--roles", strings.Join(user.Roles, ","))
				}
				words = append(words, attributeFlags(user.Attributes)...)
			}
		}
	}
	if c.APIKey != "" {
		key, good := f.GoodKey(c.APIKey, t.now)
		if !good {
			return ""
		}
		words = append(words, "--as-api-key")
		if len(key.Scopes) > 0 {
			words = append(words, "--scopes", strings.Join(key.Scopes, ","))
		}
		words = append(words, attributeFlags(key.Attributes)...)
	}
	if ip := x.Decision.ClientIP(); ip.IsValid() {
		words = append(words, "--client-ip", ip.String())
	}
	if c.Principal != "" {
		words = append(words, "--principal", c.Principal)
	}
	for _, h := range c.Headers {
		words = append(words, "--header", h[0]+": "+h[1])
	}
	for i, word := range words {
		if strings.ContainsFunc(word, unicode.IsControl) {
			return "" // control characters do not survive copying into a shell
		}
		words[i] = shellWord(word)
	}
	return strings.Join(words, " ")
}

// attributeFlags returns the flags that give explain the attributes.
func attributeFlags(of attribute.Set) (words []string) {
	for name, value := range of.All() {
		words = append(words, "--attribute", name+"="+value)
	}
	return words
}

// shellWord quotes a word for a POSIX shell if it needs quotes.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:,=@%+", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
