package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"warder/authz/jwks"
	"warder/authz/mask"
	"warder/authz/token"
	"warder/cmd/warder/internal/config"
)

const (
	// maxPreviousSecrets is the maximum number of replaced secrets that are accepted at the
	// same time.
	maxPreviousSecrets = 4
	// lookTimeout bounds the reading of secret files during a check.
	lookTimeout = 50 * time.Millisecond
)

// A tokenVerifier verifies bearer tokens with secrets and public keys that can be replaced at
// any time. What a file held before is accepted until jwt.overlap has passed. What was fetched
// before is not. It implements [authz.Tokens].
type tokenVerifier struct {
	current atomic.Pointer[tokenSecrets]
	files   []config.SecretFile // of the keys; without a path where a secret is in no file
	looking reading             // held while look reads the files
	looked  []lookedFile        // of files, when look read them last
	sources keySources          // of keys at URLs
	patient time.Duration       // how long a check may wait for a source

	mu           sync.Mutex         // held while current is replaced
	settings     config.JWT         // with the current secrets
	fetched      config.FetchedKeys // from the sources
	hits, misses uint64             // of verifiers that are gone
}

// tokenSecrets are the secrets that are accepted at one time. Each verifier has a cache of its
// own, so that no token outlives its secret.
type tokenSecrets struct {
	verifier *token.Verifier
	previous []previousSecret // newest first
}

// A lookedFile is what a file held when look read it last.
type lookedFile struct {
	info     os.FileInfo // nil: it was not read yet
	secret   mask.Secret
	verifier *token.Verifier // of secret alone; nil if that cannot be used
}

// A previousSecret is the replaced secret of one key.
type previousSecret struct {
	verifier *token.Verifier
	key      int
	secret   mask.Secret
	until    time.Time
}

func newTokenVerifier(settings config.JWT, deadline time.Duration, log *slog.Logger) (*tokenVerifier, error) {
	verifier, err := settings.Verifier()
	if err != nil {
		return nil, err
	}
	v := &tokenVerifier{
		settings: settings, looking: newReading(), looked: make([]lookedFile, len(settings.Keys)),
		fetched: config.FetchedKeys{}, patient: deadline / 2, // the other half is for the stores
	}
	for _, k := range settings.Keys {
		v.files = append(v.files, k.File)
	}
	v.current.Store(&tokenSecrets{verifier: verifier})
	sources, err := settings.RemoteKeys(log, func(issuer int, keys []token.Key) {
		if err := v.useFetched(issuer, keys); err != nil {
			log.Error("keys of the issuer cannot be used, the last good ones stay", "issuer", settings.Issuers[issuer].Name, "error", err)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, i := range slices.Sorted(maps.Keys(sources)) {
		v.sources = append(v.sources, sources[i])
	}
	return v, nil
}

// Verify implements [authz.Tokens].
func (v *tokenVerifier) Verify(text string, now time.Time) (token.Claims, error) {
	s := v.current.Load()
	claims, err := s.verifier.Verify(text, now)
	if err == nil || !isKeyError(err) {
		return claims, err
	}
	verifier, err := v.signer(s, text, now, err)
	if verifier == nil {
		return token.Claims{}, err
	}
	return verifier.Verify(text, now)
}

// Payload implements [authz.Tokens].
func (v *tokenVerifier) Payload(text string, now time.Time) (string, error) {
	s := v.current.Load()
	payload, err := s.verifier.Payload(text, now)
	if err == nil || !isKeyError(err) {
		return payload, err
	}
	verifier, err := v.signer(s, text, now, err)
	if verifier == nil {
		return "", err
	}
	return verifier.Payload(text, now)
}

// isKeyError reports whether a token may be signed with a key that is not in use, no longer or
// not yet.
func isKeyError(err error) bool {
	return errors.Is(err, token.ErrSignature) || errors.Is(err, token.ErrKeyUnknown) || errors.Is(err, token.ErrAlgorithm)
}

// signer returns the verifier for a token that was refused with an error: that of a key which is
// no longer or not yet in use, or of a key that is fetched now. Without one it returns why the
// token is refused.
func (v *tokenVerifier) signer(s *tokenSecrets, text string, now time.Time, refused error) (*token.Verifier, error) {
	if verifier := v.signerOfFile(s, text, now); verifier != nil {
		return verifier, nil
	}
	rejection, ok := errors.AsType[*token.Rejection](refused)
	if !ok || !errors.Is(refused, token.ErrKeyUnknown) {
		return nil, refused
	}
	i := slices.IndexFunc(v.sources, func(source *jwks.Source) bool { return source.Issuer() == rejection.Issuer })
	if i < 0 {
		return nil, refused
	}
	ctx, cancel := context.WithTimeout(context.Background(), v.patient)
	defer cancel()
	if !v.sources[i].Ask(ctx) {
		return nil, &token.Rejection{Err: token.ErrKeysUnknown, Detail: rejection.Detail, Issuer: rejection.Issuer}
	}
	if newer := v.current.Load(); newer != s {
		return newer.verifier, nil
	}
	return nil, refused
}

// signerOfFile returns the verifier of the secret that a token is signed with, if that is a
// previous secret, or one that is in a file and not yet in use. Otherwise it returns nil.
func (v *tokenVerifier) signerOfFile(s *tokenSecrets, text string, now time.Time) *token.Verifier {
	for _, p := range s.previous {
		if now.Before(p.until) && signs(p.verifier, text, now) {
			return p.verifier
		}
	}
	if newer := v.look(s, text, now); newer != nil && signs(newer.verifier, text, now) {
		return newer.verifier
	}
	return nil
}

// signs reports whether the signature of the token is by a key of the verifier, whether or not its
// claims are good. It asks the cache first.
func signs(v *token.Verifier, text string, now time.Time) bool {
	_, err := v.Verify(text, now)
	return err == nil || v.Signed(text)
}

// look returns newer secrets than s, or nil. It reads files that have changed and not yet
// settled. The token may be signed with a secret that was written a moment ago. The content
// of such a file may be incomplete, so it is used only if it verifies the token.
func (v *tokenVerifier) look(s *tokenSecrets, text string, now time.Time) *tokenSecrets {
	if !slices.ContainsFunc(v.files, func(f config.SecretFile) bool { return f.Path != "" }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	_ = v.looking.do(ctx, func() {
		if v.current.Load() == s {
			v.readChanged(text, now)
		}
	})
	if newer := v.current.Load(); newer != s {
		return newer
	}
	return nil
}

// readChanged reads the files that have changed since it read them last, and uses a secret
// that verifies the token.
func (v *tokenVerifier) readChanged(text string, now time.Time) {
	for i, file := range v.files {
		if file.Path == "" {
			continue
		}
		info, err := os.Stat(file.Path)
		if err != nil {
			continue
		}
		held := &v.looked[i]
		if !held.isOf(info) {
			*held = lookedFile{info: info}
			if secret, err := file.Read(); err == nil {
				held.secret = secret
				held.verifier, _ = v.withSecret(i, secret).VerifierOf(i) // the watch reports an error
			}
		}
		if held.verifier == nil || !signs(held.verifier, text, now) {
			continue
		}
		// A write within the resolution of the file's time is not seen by isOf.
		if secret, err := file.Read(); err != nil || secret != held.secret {
			*held = lookedFile{}
			continue
		}
		_, _ = v.replace(i, held.secret) // VerifierOf has checked the secret
	}
}

// isOf reports whether the file was read and has not changed since.
func (f lookedFile) isOf(info os.FileInfo) bool {
	return f.info != nil && os.SameFile(f.info, info) && f.info.Size() == info.Size() && f.info.ModTime().Equal(info.ModTime())
}

// withSecret returns the settings with another secret of a key.
func (v *tokenVerifier) withSecret(key int, secret mask.Secret) config.JWT {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.settings
	s.Keys = slices.Clone(s.Keys)
	s.Keys[key].Secret = secret
	return s
}

// replace replaces the secret of a key. It returns the time until which the secret before is
// accepted, or the zero time if it is not. On an error nothing changes.
func (v *tokenVerifier) replace(key int, secret mask.Secret) (until time.Time, err error) {
	next := v.withSecret(key, secret)
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.current.Load()
	before := v.settings.Keys[key].Secret
	if before == secret {
		for _, p := range old.previous { // a check was first to use it
			if p.key == key {
				return p.until, nil
			}
		}
		return time.Time{}, nil
	}
	fresh := &tokenSecrets{}
	if fresh.verifier, err = next.VerifierWith(v.fetched); err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	if overlap := v.settings.Overlap; overlap > 0 {
		only, err := v.settings.VerifierOf(key)
		if err != nil {
			return time.Time{}, err
		}
		until = now.Add(overlap)
		fresh.previous = append(fresh.previous, previousSecret{only, key, before, until})
		time.AfterFunc(overlap, v.forgetPrevious)
	}
	for _, p := range old.previous {
		if now.Before(p.until) && (p.key != key || p.secret != secret) && len(fresh.previous) < maxPreviousSecrets {
			fresh.previous = append(fresh.previous, p)
		}
	}
	v.settings = next
	v.use(old, fresh)
	return until, nil
}

// useFetched uses the keys that were fetched for an issuer, or none if keys is nil. Tokens that
// were verified with keys before are verified again. On an error nothing changes.
func (v *tokenVerifier) useFetched(issuer int, keys []token.Key) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	fetched := maps.Clone(v.fetched)
	if delete(fetched, issuer); keys != nil {
		fetched[issuer] = keys
	}
	verifier, err := v.settings.VerifierWith(fetched)
	if err != nil {
		return err
	}
	old := v.current.Load()
	v.fetched = fetched
	v.use(old, &tokenSecrets{verifier: verifier, previous: old.previous})
	return nil
}

// forgetPrevious drops the previous secrets whose time is over. Verify no longer accepts them.
func (v *tokenVerifier) forgetPrevious() {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, now := v.current.Load(), time.Now()
	fresh := &tokenSecrets{verifier: old.verifier}
	for _, p := range old.previous {
		if now.Before(p.until) {
			fresh.previous = append(fresh.previous, p)
		}
	}
	v.use(old, fresh)
}

// use replaces the secrets. The counts of the verifiers that go are kept.
func (v *tokenVerifier) use(old, fresh *tokenSecrets) {
	v.current.Store(fresh)
	stays := fresh.verifiers()
	for _, gone := range old.verifiers() {
		if !slices.Contains(stays, gone) {
			hits, misses := gone.Remembered()
			v.hits, v.misses = v.hits+hits, v.misses+misses
		}
	}
}

func (s *tokenSecrets) verifiers() []*token.Verifier {
	all := []*token.Verifier{s.verifier}
	for _, p := range s.previous {
		all = append(all, p.verifier)
	}
	return all
}

// Remembered returns how often a token was found in a cache and how often it was not.
func (v *tokenVerifier) Remembered() (hits, misses uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	hits, misses = v.hits, v.misses
	for _, each := range v.current.Load().verifiers() {
		h, m := each.Remembered()
		hits, misses = hits+h, misses+m
	}
	return hits, misses
}
