package doctor

import (
	"fmt"
	"io"
	"strings"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
)

// A status is how a finding is.
type status string

// The values of status.
const (
	good    status = "ok"
	warning status = "warning"
	broken  status = "broken"
	unknown status = "unknown"
)

// A finding is what was found about one thing.
type finding struct {
	Check   string `json:"check"` // what was looked at, such as "sessions.rights"
	Status  status `json:"status"`
	Message string `json:"message"`
	Setting string `json:"setting"` // the key of the configuration that decides it, or ""
	At      string `json:"at"`      // where that key was given, or "default", or ""
}

// A report collects the findings.
type report struct {
	config *config.Config
	found  []finding
}

// say adds a finding that a key of the configuration decides.
func (r *report) say(check string, s status, setting, format string, args ...any) {
	f := finding{Check: check, Status: s, Setting: setting, Message: clean(fmt.Sprintf(format, args...))}
	if setting != "" {
		f.At = r.config.Where(setting)
	}
	r.found = append(r.found, f)
}

// problems adds problems that have places of their own.
func (r *report) problems(check string, s status, problems cli.Problems) {
	for _, p := range problems.Sorted() {
		r.found = append(r.found, finding{Check: check, Status: s, Setting: p.Field, At: p.Position.String(), Message: clean(p.Message)})
	}
}

// fault adds an error, one finding a line.
func (r *report) fault(check, setting string, err error) {
	for line := range strings.Lines(err.Error()) {
		r.say(check, broken, setting, "%s", strings.TrimSpace(line))
	}
}

// clean makes a message one line. The errors of the stores and of the configuration contain no
// secrets.
func clean(text string) string { return cli.OneLine(text, 2000) }

func (r *report) count(s status) (n int) {
	for _, f := range r.found {
		if f.Status == s {
			n++
		}
	}
	return n
}

func (r *report) write(to io.Writer) error {
	var b strings.Builder
	for _, f := range r.found {
		fmt.Fprintf(&b, "%-8s %-22s %s\n", f.Status, f.Check, f.Message)
		if f.Setting != "" || f.At != "" {
			fmt.Fprintf(&b, "%31s %s\n", "", strings.TrimSpace(f.Setting+" ("+f.At+")"))
		}
	}
	fmt.Fprintf(&b, "%s, %s\n", cli.Count(r.count(broken), "broken thing"), cli.Count(r.count(warning), "warning"))
	_, err := io.WriteString(to, b.String())
	return err
}
