package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
)

// readLines returns the fields of each line of a file.
func readLines(path string) ([][]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all [][]string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		all = append(all, fields)
		sameLength := func(a, b string) bool { return len(a) == len(b) }
		if !slices.EqualFunc(fields, all[0], sameLength) || slices.Contains(fields, "") {
			return nil, fmt.Errorf("%s:%d: every line must have the same number of fields, none empty, each as long as on the first line", path, len(all))
		}
	}
	if lines.Err() == nil && len(all) == 0 {
		return nil, fmt.Errorf("%s has no lines", path)
	}
	return all, lines.Err()
}

// A text is bytes that contain fields of a line at fixed places. Its length does not depend on the
// line.
type text struct {
	pieces []piece
	size   int
}

// A piece is fixed bytes, or a field of the line if fixed is nil.
type piece struct {
	fixed []byte
	field int
	size  int
}

// textOf finds the fields of the first line in bytes that were made for it.
func textOf(b []byte, first []string) *text {
	t := &text{size: len(b)}
	for len(b) > 0 {
		at, field, size := len(b), 0, 0
		for i, value := range first {
			// Of two fields at one place, the longer one counts: a token may begin with another field.
			if n := bytes.Index(b, []byte(value)); n >= 0 && (n < at || n == at && len(value) > size) {
				at, field, size = n, i, len(value)
			}
		}
		if at > 0 {
			t.pieces = append(t.pieces, piece{fixed: b[:at], size: at})
		}
		if size > 0 {
			t.pieces = append(t.pieces, piece{field: field, size: size})
		}
		b = b[at+size:]
	}
	return t
}

// varies reports whether the text contains a field.
func (t *text) varies() bool {
	return slices.ContainsFunc(t.pieces, func(p piece) bool { return p.fixed == nil })
}

// appendTo appends the text for a line.
func (t *text) appendTo(b []byte, line []string) []byte {
	for _, p := range t.pieces {
		if p.fixed != nil {
			b = append(b, p.fixed...)
		} else {
			b = append(b, line[p.field]...)
		}
	}
	return b
}

// matches reports whether data is the part of the text for a line that begins at an offset.
func (t *text) matches(line []string, offset int, data []byte) bool {
	for _, p := range t.pieces {
		if offset >= p.size {
			offset -= p.size
			continue
		}
		n := min(p.size-offset, len(data))
		same := false
		if p.fixed != nil {
			same = string(p.fixed[offset:offset+n]) == string(data[:n])
		} else {
			same = line[p.field][offset:offset+n] == string(data[:n])
		}
		if !same {
			return false
		}
		data, offset = data[n:], 0
		if len(data) == 0 {
			return true
		}
	}
	return len(data) == 0
}

// readMessage reads a file that was made for the first line.
func readMessage(path string, first []string, frame func([]byte) []byte) (*text, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return textOf(frame(b), first), nil
}

// frameMessage puts the prefix of gRPC before a message: no compression, and the length.
func frameMessage(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...) //nolint:gosec // a file of less than 4 GiB
}
