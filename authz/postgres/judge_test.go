package postgres

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	accepts := serverCheck{standby: true, maxLag: 10 * time.Second}
	for text, want := range map[string]bool{
		"f": true, "t": false, "f|1": true, "t|1": true, "t|10": true, "t|10.001": false, "t|-10.001": false,
		"t|NaN": false, "t|Infinity": false, "t|-Infinity": false, "t|x": false, "t|1e300": false,
	} {
		first, second, given := strings.Cut(text, "|")
		row := [][]byte{[]byte(first), nil}
		if given {
			row[1] = []byte(second)
		}
		if err := accepts.judge(row); (err == nil) != want || err != nil && !isStandby(err) {
			t.Errorf("%s: %v", text, err)
		}
		if err := (serverCheck{}).judge(row); (err == nil) != (first == "f") {
			t.Errorf("%s, standbys not accepted: %v", text, err)
		}
	}
}

func TestStandbyIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Now()
	l := &standbyLog{limited: limitedLog{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}}
	for _, err := range []error{errStandby, errStandby, nil, nil, errLagUnknown, errStandby} {
		now = now.Add(time.Minute)
		l.saw(t.Context(), err)
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, &out)
	}
}
