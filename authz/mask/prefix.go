package mask

import "bytes"

// A keyPrefix is the published beginning of the secrets of a provider. Identifiers that are not
// secret are not listed, such as AKIA of AWS and pk_live_ of Stripe.
type keyPrefix struct {
	text  string // ends with one of the bytes in joints
	least int    // the least length of what comes after it, in bytes
	more  string // the bytes after it besides letters, digits, - and _
}

// keyPrefixes lists the prefixes, from the providers' documentation and from the rules of
// gitleaks and of GitHub's secret scanning.
func keyPrefixes() []keyPrefix {
	list := []keyPrefix{
		{"AIz", 30, ""},     // Google API key, AIza…
		{"ya29.", 16, "."},  // Google OAuth access token
		{"GOCSPX-", 20, ""}, // Google OAuth client secret
		{"sk-", 20, ""},     // OpenAI, Anthropic, OpenRouter and others
		{"SG.", 32, "."},    // SendGrid
		{"pypi-", 30, ""},
		{"AGE-SECRET-KEY-", 20, ""},
		{"whsec_", 20, "+/="}, // signatures of webhooks of Stripe and Svix
		{"xapp-", 16, ""},
		{"hvs.", 20, ""}, {"hvb.", 20, ""}, // HashiCorp Vault
		{"fm2_", 30, "+/=,"},                   // Fly.io
		{"glc_", 30, "+/="}, {"glsa_", 24, ""}, // Grafana
		{"dp.pt.", 30, ""}, {"dp.st.", 30, "."}, // Doppler
		{"dt0c01.", 40, "."}, {"dt0s01.", 40, "."}, // Dynatrace
		{"xkeysib-", 40, ""}, {"sntrys_", 40, "+/="}, {"sntryu_", 40, ""},
	}
	for least, texts := range map[int]string{
		10: "xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xoxc- xoxd- " + // Slack
			"sk_live_ sk_test_ rk_live_ rk_test_", // Stripe and others
		16: "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ " + // GitHub
			"glpat- gloas- gldt- glrt- glcbt- glptt- glft- glimt- glagent- glsoat- glffct- " + // GitLab
			"tskey-auth- tskey-api- tskey-client- tskey-scim- tskey-webhook- NRAK- NRSP- sq0atp- sq0csp- ",
		20: "npm_ hf_ api_org_ dop_v1_ doo_v1_ dor_v1_ shpat_ shpca_ shppa_ shpss_ lin_api_ lin_oauth_ ntn_ PMAK- " +
			"pscale_tkn_ pscale_pw_ pscale_oauth_ r8_ pplx- gsk_ xai- sbp_ sb_secret_ pul- rubygems_ figd_ figo_ nfp_ CFPAT- " +
			"CCIPAT_ bkua_ tfp_ shippo_live_ HRKU- rdme_ pnu_ ops_ dckr_pat_ dckr_oat_ secret_ ",
	} {
		for text := range bytes.FieldsSeq([]byte(texts)) {
			list = append(list, keyPrefix{text: string(text), least: least})
		}
	}
	return list
}

// joints are the last bytes of the prefixes.
const joints = "_-.z"

// prefixes holds the prefixes by their last two bytes. It is never changed.
var prefixes = func() (table [len(joints)][128][]keyPrefix) {
	for _, p := range keyPrefixes() {
		n := len(p.text)
		list := &table[bytes.IndexByte([]byte(joints), p.text[n-1])][p.text[n-2]]
		*list = append(*list, p)
	}
	return table
}()

// prefixPairs has the pairs of bytes before the last byte of a prefix: bit c of prefixPairs[b]
// is for b and then c. It is never changed.
var prefixPairs = func() (table [128][2]uint64) {
	for _, p := range keyPrefixes() {
		n := len(p.text)
		table[p.text[n-3]][p.text[n-2]>>6] |= 1 << (p.text[n-2] & 63)
	}
	return table
}()

// mayEndPrefix reports whether the bytes before t[i] may be those of a prefix that ends at t[i].
func mayEndPrefix(t []byte, from, i int) bool {
	if i-2 < from {
		return false
	}
	b, c := t[i-2], t[i-1]
	return b < 128 && c < 128 && prefixPairs[b][c>>6]&(1<<(c&63)) != 0
}

// prefixed masks a secret whose prefix ends at t[i], with one of joints. It returns its end,
// or 0 if there is none.
func (s *scanner) prefixed(t []byte, from, i, end int) int {
	if !mayEndPrefix(t, from, i) {
		return 0
	}
	joint := 0
	switch t[i] {
	case '-':
		joint = 1
	case '.':
		joint = 2
	case 'z':
		joint = 3
	}
	for _, p := range prefixes[joint][t[i-1]] {
		start := i + 1 - len(p.text)
		if start < from || string(t[start:i+1]) != p.text || start > from && isBase64(t[start-1]) {
			continue
		}
		stop := i + 1
		for stop < end && (isBase64(t[stop]) || bytes.IndexByte([]byte(p.more), t[stop]) >= 0) {
			stop++
		}
		s.work += stop - start
		for stop > i && t[stop-1] == '.' { // the end of a sentence
			stop--
		}
		if stop-i-1 < p.least || !looksRandom(t[i+1:stop]) {
			return max(i+1, stop)
		}
		s.maskShape(start, stop)
		return stop
	}
	return 0
}

// looksRandom reports whether a text is not made of words: a run of letters and digits in it has
// minKeyTail bytes, or minKeyDigits bytes with a digit. In sk-learn-linear-model, none has.
func looksRandom(text []byte) bool {
	run, digits := 0, 0
	for _, c := range text {
		if !isAlnum(c) {
			run, digits = 0, 0
			continue
		}
		run++
		if isDigit(c) {
			digits++
		}
		if run >= minKeyTail || run >= minKeyDigits && digits > 0 {
			return true
		}
	}
	return false
}

// A hook is the beginning of the URLs of a provider's webhooks. What comes after it, and after
// further segments, is the secret.
type hook struct {
	host, path string
	skip       int // number of segments after path that are not secret
}

// hooks are the URLs that authorize whoever knows them. A host with a dot at its beginning
// stands for the hosts that end with it. It is never changed.
var hooks = []hook{
	{"hooks.slack.com", "/services/", 0}, {"hooks.slack.com", "/workflows/", 0}, {"hooks.slack.com", "/triggers/", 0},
	{"hooks.slack-gov.com", "/services/", 0},
	{"discord.com", "/api/webhooks/", 1}, {"discordapp.com", "/api/webhooks/", 1},
	{"canary.discord.com", "/api/webhooks/", 1}, {"ptb.discord.com", "/api/webhooks/", 1},
	{"discord.com", "/api/v10/webhooks/", 1}, {"discord.com", "/api/v9/webhooks/", 1}, {"discord.com", "/api/v8/webhooks/", 1},
	{".webhook.office.com", "/webhookb2/", 0}, {"outlook.office.com", "/webhook/", 0},
	{"hooks.zapier.com", "/hooks/catch/", 1},
}

// mayBeHook reports whether a host may be one of hooks.
func mayBeHook(host []byte) bool {
	if len(host) < len("discord.com") || len(host) > maxKey || host[len(host)-1]|0x20 != 'm' {
		return false
	}
	switch host[0] | 0x20 {
	case 'h', 'd', 'c', 'p', 'o':
		return true
	}
	return hasFold(host[max(0, len(host)-len(".office.com")):], ".office.com")
}

// webhook masks the secret in the URL of a webhook, whose authority is t[i:stop]. It returns
// where to continue.
func (s *scanner) webhook(t []byte, i, stop, end int) int {
	if stop+1 >= end || t[stop] != '/' || !mayBeHook(t[i:stop]) {
		return stop
	}
	s.work += len(hooks)
	host := t[i:stop]
	for _, h := range hooks {
		switch {
		case t[stop+1] != h.path[1]:
			continue
		case len(host) < len(h.host) || !hasFold(host[len(host)-len(h.host):], h.host):
			continue
		case len(host) > len(h.host) && h.host[0] != '.':
			continue
		case !hasPrefix(t[stop:end], h.path):
			continue
		}
		start := stop + len(h.path)
		for range h.skip {
			n := bytes.IndexByte(t[start:min(end, start+maxKey)], '/')
			if n < 0 {
				return start
			}
			start += n + 1
		}
		s.work += start - stop
		p := start
		for p < end && (isBase64(t[p]) || bytes.IndexByte([]byte("/@.~%+="), t[p]) >= 0) {
			p++
		}
		s.work += p - start
		for p > start && t[p-1] == '.' {
			p--
		}
		if p > start {
			s.maskShape(start, p)
		}
		return p
	}
	return stop
}

// botToken masks the secret in a token of Telegram, 123456789:AA…, whose colon is at t[i]. It
// returns its end, or 0 if there is none.
func (s *scanner) botToken(t []byte, from, i, end int) int {
	const length = 35
	if i+length >= end || t[i+1] != 'A' || i-8 < from || !isDigit(t[i-1]) {
		return 0
	}
	p := i
	for p > from && p > i-12 && isDigit(t[p-1]) {
		p--
	}
	s.work += i - p
	if i-p < 8 {
		return 0
	}
	for p = i + 1; p < end && isBase64(t[p]); p++ {
	}
	s.work += p - i
	if p-i-1 < length-2 || !looksRandom(t[i+1:p]) {
		return 0
	}
	s.maskShape(i+1, p)
	return p
}

// maskShape masks a secret that is recognized without a key. It may have been read as a part of
// a key, so that the text is read again.
func (s *scanner) maskShape(start, end int) {
	s.odd = true
	s.maskAs(start, end, 0)
}
