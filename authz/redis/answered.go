package redis

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// answered describes an error of the server for the log: its code, what it means, and the
// server's own words.
func answered(reply redis.Error, hint string) string {
	code, text, _ := strings.Cut(reply.Error(), " ")
	if !errorCode.MatchString(code) {
		code = "an error"
	}
	said := "redis answers " + code
	if hint != "" {
		said += "; " + hint
	}
	if words := knownWords(text); words != "" {
		said += `: "` + words + `"`
	}
	return said
}

// maxWords is the greatest number of words of a server's error that are shown.
const maxWords = 40

// knownWords returns the words of a server's error, with … in place of those that are not in
// [vocabulary]. A server may repeat what it was sent: a session's key, a user, a password, or the
// address of another server. Such a word can look like any other, so that only words that servers
// are known to write are shown. If there are none, it returns "".
func knownWords(text string) string {
	var shown []string
	known := false
	for word := range strings.FieldsSeq(text) {
		if len(shown) == maxWords {
			shown = append(shown, "…")
			break
		}
		switch {
		case isKnown(word):
			shown, known = append(shown, word), true
		case len(shown) == 0 || shown[len(shown)-1] != "…":
			shown = append(shown, "…")
		}
	}
	if !known {
		return ""
	}
	return strings.Join(shown, " ")
}

// isKnown reports whether each part of a word is in the vocabulary, as in 'client|tracking' or
// username-password. No session's key is one: it has a separator inside that ids cannot contain.
func isKnown(word string) bool {
	word = strings.Trim(word, "'`\"()<>[].,:;!?")
	parts := strings.FieldsFunc(word, func(r rune) bool { return r == '|' || r == '-' })
	for _, part := range parts {
		if !vocabulary[strings.ToLower(part)] {
			return false
		}
	}
	return len(parts) > 0
}

// vocabulary are the words of errors of Redis, Valkey and services that are compatible, in lower
// case. They are those of errors about connections, users, modes and the commands that warder
// sends.
var vocabulary = func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(`
		a aborted about accept accepted access accessible account acl acls active after again all allow allowed already also an and
		another any aof api are args argument arguments as at auth authenticate authenticated authentication authorized available
		backend bad balance be because been before begin beginning being blocked broken busy but by bytes
		call called can can't cannot capacity certificate channel channels check client clients close closed closing cluster command
		commands config configuration configured connect connected connection connections context correct could count credentials current
		currently daily data database databases dataset db default denied detected
		did different disabled disk do does doesn't don't down due during either
		empty enabled enough error errors exceed exceeded exceeds exec executing exists expected expired external
		fail failed failing failover failure finished first following for forbidden format found from full
		global group had handle has hash hasn't have hello help host hour id idle
		if implemented in inactive index initialized insecure inside instance instead insufficient integer interface internal into invalid
		ip is isn't it its key keys kill large length license limit limited limits
		line link loading local long lost made maintenance malformed many master
		masters max maxclients maximum maxmemory may memory message migrating minute missing mode modify more multi must
		name named network new no node nodes nosave not number numsub of off on
		once one only open operation option options or origin other out outside over overloaded
		pair password paused per permission permissions permitted persist persistence ping plan please pool port prefix primaries primary
		proceed process prohibited protected proto protocol provided proxy pttl public pubsub
		quota range rate reach reached read reading readonly ready reason received
		recognized redis refused rejected relay remove replica replicas replication reply report request requested requests require
		required requires reset resolve resp response restarting restricted retry role run running
		s same save script second seconds secure see select send sending sent sentinel serve served server servers service session set
		setname setting shard shutdown shutting single size slave slot slots slow snapshot so socket ssl stale start started starting
		state still stop stopped storage subcommand subscribe subscribed subscriptions such suitable support supported sure suspended sync
		syntax t temporarily than that the them then there they this throttled time
		timed timeout tls to token too total tracking traffic transaction try trying type
		unable unauthorized unavailable unblocked unexpected unhealthy unknown unsupported until up upgrade upstream usage use used user
		username users using valid valkey value version wait waiting want was we
		were when which while will with within without writable write wrong you
		your`) {
		words[word] = true
	}
	return words
}()
