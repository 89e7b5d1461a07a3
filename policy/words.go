package policy

import (
	"strings"

	"warder/policy/strict"
)

// foreignMethod says what a method means in other products, if it is one of their words, and
// what to write instead. It returns "" for a method that a request may have.
func foreignMethod(upper string) string {
	switch upper {
	case "*", "**", ".*", "ANY", "ALL":
		return "is any method in other products; leave the methods out for GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS, or list them"
	case "WS", "WSS", "WEBSOCKET", "WEBSOCKETS", "SSE":
		return "is a kind of connection, which begins with a GET request; write GET"
	case "GRPC", "RPC", "GRAPHQL":
		return "is a kind of call, which is a POST request; write POST"
	case "HTTP", "HTTPS":
		return "is a scheme, not a method; write one such as GET, or leave the methods out for the usual ones"
	}
	if list := strings.FieldsFunc(upper, func(r rune) bool { return r == '|' || r == '+' || r == '&' }); len(list) > 1 {
		return "is several methods in one word, which no request has; write " + strings.Join(list, ",") + " before a path, or each as an item of the list"
	}
	if strings.ContainsAny(upper, "*!^$~|`'#%&+.") {
		return "is a pattern in other products, and is compared as it is written here; write out each method, such as GET"
	}
	return ""
}

// foreignName says what a role or scope means in other products, if it is one of their words.
// Such a name may exist, so that it is a warning.
func foreignName(what, name string) string {
	everyone := "user: {}"
	if what == "scope" {
		everyone = "api_key: {}"
	}
	quoted := "the " + what + " " + strict.Quote(name)
	switch word := strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "", "$", "", "@", "", "()", "").Replace(name)); {
	case word == "*" || word == "**" || word == ".*":
		return quoted + " is a name like any other here, and does not stand for all of them; write " + everyone + " if any will do"
	case word == "any" || word == "anyone" || word == "anybody" || word == "all" || word == "everyone" || word == "everybody" ||
		word == "authenticated" || word == "isauthenticated" || word == "isauthenticatedfully" || word == "loggedin":
		return quoted + " is everybody who is signed in, in other products, and a name like any other here; write " + everyone + " if that is meant"
	case word == "anonymous" || word == "permitall" || word == "unauthenticated" || word == "publicaccess" || word == "isauthenticatedanonymously":
		return quoted + " is everybody, in other products, and a name like any other here; write public: true, or {anonymous: {}} beside the others, if that is meant"
	case strings.Contains(name, "*"):
		return quoted + " is compared as it is written, and its * stands for nothing else; write out each " + what
	case strings.HasPrefix(name, "!"), strings.HasPrefix(name, "^"), strings.Contains(name, "|"), strings.Contains(name, "&&"), strings.Contains(name, " OR "), strings.Contains(name, " AND "):
		return quoted + " is an expression in other products, and one name here; write each " + what + " as an item of the list"
	case what == "scope" && strings.Contains(name, " "):
		return quoted + " is one name with a space in it; write each scope as an item of the list, if several are meant"
	}
	return ""
}
