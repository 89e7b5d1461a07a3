package mask

import "bytes"

// A tool is a command with a flag of one letter whose value is a password. Other commands use
// the same letters for ports and files, so that the flag counts only after the command.
type tool struct {
	names    string // with blanks around each
	flag     byte
	attached bool   // the value may follow the letter directly, as in -psecret
	apart    bool   // the value may be the next word
	needs    string // a word between the command and the flag
}

// tools is never changed.
var tools = []tool{
	{names: " redis-cli valkey-cli keydb-cli ", flag: 'a', apart: true},
	{names: " mysql mysqldump mysqladmin mysqlimport mysqlshow mysqlcheck mysqlsh mysqlbinlog mariadb mariadb-dump mariadb-admin ", flag: 'p', attached: true},
	{names: " sshpass ", flag: 'p', attached: true, apart: true},
	{names: " docker podman nerdctl buildah skopeo helm oras crane ", flag: 'p', apart: true, needs: "login"},
	{names: " az ", flag: 'p', apart: true, needs: "login"},
	{names: " mongo mongosh mongodump mongorestore mongoexport mongoimport ", flag: 'p', apart: true},
	{names: " ldapsearch ldapmodify ldapadd ldapdelete ldappasswd ldapwhoami ldapcompare ", flag: 'w', attached: true, apart: true},
	{names: " sqlcmd bcp ", flag: 'P', attached: true, apart: true},
	{names: " zip unzip ", flag: 'P', apart: true},
	{names: " 7z 7za 7zz ", flag: 'p', attached: true},
	{names: " curl ", flag: 'b', apart: true},
}

// toolOf returns the tool with a name, which may be the end of a path, or nil.
func toolOf(name []byte) *tool {
	if n := bytes.LastIndexByte(name, '/'); n >= 0 {
		name = name[n+1:]
	}
	var room [maxTool + 2]byte
	if len(name) < 2 || len(name) > maxTool {
		return nil
	}
	padded := append(append(append(room[:0], ' '), name...), ' ')
	for i := range tools {
		if bytes.Contains([]byte(tools[i].names), padded) {
			return &tools[i]
		}
	}
	return nil
}

// maxTool is the greatest length of the name of a tool, in bytes.
const maxTool = 16

// toolBefore returns the last tool before t[i], or nil. It looks at each word of the line once.
func (s *scanner) toolBefore(t []byte, i int, look *lookout) *tool {
	for p := look.tools; p < i; {
		for p < i && !isKeyByte(t[p]) {
			if t[p] == '|' || t[p] == ';' { // another command
				look.tool, look.login = nil, false
			}
			p++
		}
		start := p
		for p < i && isKeyByte(t[p]) {
			p++
		}
		s.work += 4 * (p - start)
		if found := toolOf(t[start:p]); found != nil {
			look.tool, look.login = found, false
		} else if isWord(t[start:p], "login") {
			look.login = true
		}
	}
	look.tools = max(look.tools, i)
	if look.tool != nil && look.tool.needs != "" && !look.login {
		return nil
	}
	return look.tool
}

// letter masks the value of a flag of one letter, as in redis-cli -a x and mysql -px. The
// letter is at t[i], and the word ends before t[p]. It returns 0 if the flag has no password.
func (s *scanner) letter(t []byte, from, i, p, end int, look *lookout) int {
	switch t[i] {
	case 'a', 'b', 'p', 'w', 'P':
	default:
		return 0
	}
	found := s.toolBefore(t[:i], i-1, look)
	if found == nil || found.flag != t[i] {
		return 0
	}
	v := i + 1
	inList := v < end && isQuote(t[v]) && i-2 >= from && t[i-2] == t[v] // ['redis-cli', '-a', 'x']
	if p > v || v < end && !isBlank(t[v]) && !inList {
		if !found.attached || v == end {
			return 0
		}
	} else {
		if inList {
			if v = s.skipGap(t, v+1, end); v == end || t[v] != ',' {
				return 0
			}
			v++
		}
		next := s.skipGap(t, v, end)
		if !found.apart || next == v || next == end || t[next] == '-' {
			return 0
		}
		v = next
	}
	if found.flag == 'b' && !s.cookies(t, v, end) {
		return 0
	}
	s.odd = true // the tool may be masked, as the value of a key before it
	if q := quotePrefix(t, v, end); isQuote(t[q]) {
		look.tool = nil
		return s.quotedValue(t, q, end, wordEnds)
	}
	if t[v] == '\\' {
		return 0
	}
	stop := bareEnd(t, v, end, false)
	s.work += stop - v
	look.tool = nil // sshpass -p x ssh -p 22
	if stop > v && !bytes.Contains(t[v:stop], []byte(Replacement)) {
		s.mask(t, v, stop)
	}
	return max(stop, v)
}

// cookies reports whether t[v] begins cookies of curl -b and not the name of a file. Cookies
// with a sensitive name are masked for it.
func (s *scanner) cookies(t []byte, v, end int) bool {
	if isQuote(t[v]) {
		v++
	}
	p := v
	for p < end && p < v+maxKey && isKeyByte(t[p]) {
		p++
	}
	s.work += p - v
	return p > v && p < end && t[p] == '=' && s.words.find(t, v, p, wholeKey) == 0
}
