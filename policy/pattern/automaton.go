package pattern

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// ErrTooManyStates is the error of [FindText] for segments that overlap in more ways than it
// follows.
var ErrTooManyStates = errors.New("the segments overlap in too many ways")

// maxStates bounds the search of FindText. Two segments of at most maxMixed bytes have fewer
// states together.
const maxStates = 1 << 19

// FindText returns a shortest text that all segments of the first list match and none of the
// second, and that can be a decoded segment of a path. Of the forms that a path may be refused
// for, the text has those that a literal of the first list has, and the given one, of which
// there is at most one. found is false if there is no such text.
//
// The search is exact. A segment is a deterministic automaton, since a parameter ends at the
// first occurrence of the literal after it; the search walks through the product of all of
// them, and of the automaton of [checkParts]. The characters that no literal holds lead all of
// them to the same states, so that one of these stands for all.
func FindText(in, out []Segment, form Forms) (text string, found bool, err error) {
	machines := make([]machine, 0, len(in)+len(out))
	for _, s := range in {
		machines = append(machines, machineOf(s))
	}
	for _, s := range out {
		machines = append(machines, machineOf(s))
	}
	all := slices.Concat(in, out)
	symbols, must := alphabet(in, all, form)
	n := len(machines)
	// A state holds one state of each machine, one of checkParts, and whether must occurred.
	type reached struct {
		state  []int32
		from   int
		symbol rune
	}
	start := make([]int32, n+2)
	for i, m := range machines {
		start[i] = m.start()
	}
	if must == 0 {
		start[n+1] = 1
	}
	queue := []reached{{state: start, from: -1}}
	seen := map[string]bool{stateKey(start): true}
	for at := 0; at < len(queue); at++ {
		state := queue[at].state
		if accepts(machines, state, len(in)) {
			var runes []rune
			for i := at; queue[i].from >= 0; i = queue[i].from {
				runes = append(runes, queue[i].symbol)
			}
			slices.Reverse(runes)
			return string(runes), true, nil
		}
		for _, r := range symbols {
			next := make([]int32, n+2)
			alive := true
			for i, m := range machines {
				next[i] = m.step(state[i], r)
				alive = alive && (next[i] >= 0 || i >= len(in))
			}
			next[n] = stepParts(state[n], r)
			if !alive || next[n] < 0 {
				continue
			}
			if next[n+1] = state[n+1]; r == must {
				next[n+1] = 1
			}
			if key := stateKey(next); !seen[key] {
				if len(queue) == maxStates {
					return "", false, ErrTooManyStates
				}
				seen[key] = true
				queue = append(queue, reached{next, at, r})
			}
		}
	}
	return "", false, nil
}

func stateKey(state []int32) string {
	key := make([]byte, 0, 4*len(state))
	for _, s := range state {
		key = binary.LittleEndian.AppendUint32(key, uint32(s)) //nolint:gosec // -1 is a key too
	}
	return string(key)
}

// accepts reports whether the first machines accept the text that led to a state, and the others
// do not.
func accepts(machines []machine, state []int32, in int) bool {
	n := len(machines)
	if state[n] < partsGood || state[n+1] == 0 {
		return false
	}
	for i, m := range machines {
		if m.accepts(state[i]) != (i < in) {
			return false
		}
	}
	return true
}

// formRunes are the characters of the forms.
var formRunes = []struct {
	form Forms
	char rune
}{{EncodedSlash, '/'}, {EncodedPercent, '%'}, {Semicolon, ';'}}

// alphabet returns the characters that a text is looked for in, one that no literal holds first,
// and the one that has to occur in it, or 0.
func alphabet(in, all []Segment, form Forms) (symbols []rune, must rune) {
	inText := literalsOf(in)
	skip := map[rune]bool{}
	for _, f := range formRunes {
		switch {
		case f.form&form != 0 && !strings.ContainsRune(inText, f.char):
			must = f.char
		case !strings.ContainsRune(inText, f.char):
			skip[f.char] = true
		}
	}
	symbols = []rune{freshRune(all)}
	if must != 0 {
		symbols = append(symbols, must)
	}
	for _, r := range literalsOf(all) {
		if !skip[r] && !slices.Contains(symbols, r) {
			symbols = append(symbols, r)
		}
	}
	return symbols, must
}

func literalsOf(segments []Segment) string {
	var b strings.Builder
	for _, s := range segments {
		s.write(&b, func(literal string) string { return literal }, func(string) string { return "" })
	}
	return b.String()
}

// A machine is the automaton of a segment. Its states are numbered from left to right: those of
// the first literal, then for each parameter one in which it has no character yet, and one for
// each number of characters of the literal after it that have been seen. The last state is that
// of the end, except for a parameter at the end of a segment.
type machine struct {
	first []rune
	then  [][]rune
	fails [][]int32 // the failure function of each literal, as in the algorithm of Knuth, Morris and Pratt
	base  []int32   // the first state of each parameter
	end   int32
}

func machineOf(s Segment) machine {
	m := machine{first: []rune(s.Text)}
	state := int32(len(m.first)) //nolint:gosec // a policy is smaller
	for _, p := range s.rest {
		literal := []rune(p.then)
		m.then = append(m.then, literal)
		m.fails = append(m.fails, failures(literal))
		m.base = append(m.base, state)
		state += 1 + max(1, int32(len(literal))) //nolint:gosec // a policy is smaller
	}
	m.end = state
	return m
}

func failures(literal []rune) []int32 {
	fail := make([]int32, len(literal))
	k := int32(0)
	for i := 1; i < len(literal); i++ {
		for k > 0 && literal[i] != literal[k] {
			k = fail[k-1]
		}
		if literal[i] == literal[k] {
			k++
		}
		fail[i] = k
	}
	return fail
}

func (m machine) start() int32 { return 0 }

// step returns the state after one more character, or -1 if the segment matches no text that
// begins like this.
func (m machine) step(state int32, r rune) int32 {
	if state < 0 {
		return -1
	}
	if int(state) < len(m.first) {
		if m.first[state] != r {
			return -1
		}
		return state + 1
	}
	if state == m.end && !m.open() {
		return -1
	}
	i := len(m.base) - 1
	for m.base[i] > state {
		i--
	}
	literal, k := m.then[i], state-m.base[i]-1
	switch {
	case k < 0: // the first character
		return m.base[i] + 1
	case len(literal) == 0:
		return state
	}
	for k > 0 && literal[k] != r {
		k = m.fails[i][k-1]
	}
	if literal[k] == r {
		k++
	}
	if int(k) == len(literal) {
		return m.base[i] + 1 + k // the state of the next parameter, or the end
	}
	return m.base[i] + 1 + k
}

// open reports whether the segment ends with a parameter.
func (m machine) open() bool { return len(m.then) > 0 && len(m.then[len(m.then)-1]) == 0 }

func (m machine) accepts(state int32) bool {
	if m.open() {
		return state == m.base[len(m.base)-1]+1
	}
	return state == m.end
}

// The states of the automaton of checkParts: what has been seen of the part between two decoded
// slashes, up to a semicolon.
const (
	partsEmpty = iota
	partsDot
	partsDots
	partsGood
	partsCut // behind a semicolon
)

func stepParts(state int32, r rune) int32 {
	switch {
	case r == '/' && state >= partsGood:
		return partsEmpty
	case r == ';' && state >= partsGood:
		return partsCut
	case r == '/' || r == ';':
		return -1
	case r == '.' && state < partsGood:
		return state + 1
	case state < partsGood:
		return partsGood
	}
	return state
}
