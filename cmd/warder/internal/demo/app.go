package demo

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/memory"
)

// demoPassword is the password of every user of the demo. The demo listens on loopback only.
const demoPassword = "demo"

// demoTokenLife is the lifetime of a token of the demo and its session.
const demoTokenLife = 15 * time.Minute

// A user can sign in to the example application.
type user struct {
	ID    string
	Roles authz.Names
}

// users are the accounts of the example application, by name.
func users() map[string]user {
	return map[string]user{
		"ada":   {"1", authz.Names{"ADMIN"}},
		"carl":  {"2", authz.Names{"CONTROL"}},
		"vera":  {"3", authz.Names{"VIEWER"}},
		"grace": {"4", authz.Names{"CONTROL"}}, // inactive account
	}
}

// demoSessions is where the example application stores its sessions.
type demoSessions interface {
	put(ctx context.Context, userID, sessionID string, life time.Duration) error
	end(ctx context.Context, userID, sessionID string) error
}

type memorySessions struct{ *memory.Store }

func (s memorySessions) put(_ context.Context, userID, sessionID string, life time.Duration) error {
	s.PutSession(userID, sessionID, life)
	return nil
}

func (s memorySessions) end(_ context.Context, userID, sessionID string) error {
	s.DeleteSession(userID, sessionID)
	return nil
}

type redisSessions struct{ client *redis.Client }

func (s redisSessions) put(ctx context.Context, userID, sessionID string, life time.Duration) error {
	return s.client.Set(ctx, "session:"+userID+":"+sessionID, "1", life).Err()
}

func (s redisSessions) end(ctx context.Context, userID, sessionID string) error {
	return s.client.Del(ctx, "session:"+userID+":"+sessionID).Err()
}

// An app is the example application. It signs users in and out, and echoes every other
// request. Its only security code is the check of a password. It reads the principal of a
// request from the headers that warder sets.
type app struct {
	users    map[string]user
	sessions demoSessions
	secret   []byte // signs the tokens
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.logout)
	mux.HandleFunc("/", echo)
	return mux
}

// login reads the form fields user and password and responds with a token.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	user, known := a.users[r.PostFormValue("user")]
	right := subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(demoPassword)) == 1
	if !known || !right {
		http.Error(w, "no such user, or another password", http.StatusUnauthorized)
		return
	}
	sessionID, now := randomText(), time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user.ID, "jti": sessionID, "iat": now.Unix(), "exp": now.Add(demoTokenLife).Unix(),
	}).SignedString(a.secret)
	if err == nil {
		err = a.sessions.put(r.Context(), user.ID, sessionID, demoTokenLife)
	}
	if err != nil {
		http.Error(w, "signing in does not work at the moment", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(token + "\n")) // ignore errors: the client is gone
}

// logout ends the session of the request.
func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	err := a.sessions.end(r.Context(), r.Header.Get("X-Warder-User"), r.Header.Get("X-Warder-Session"))
	if err != nil {
		http.Error(w, "signing out does not work at the moment", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// An echoed is a request as the application received it.
type echoed struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"` // names in lower case, values joined by ", "
}

func echo(w http.ResponseWriter, r *http.Request) {
	got := echoed{Method: r.Method, Path: r.URL.EscapedPath(), Headers: map[string]string{}}
	for name, values := range r.Header {
		got.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(got) // ignore errors: the client is gone
}
