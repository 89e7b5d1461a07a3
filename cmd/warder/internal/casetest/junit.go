package casetest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The types of the JUnit report, as CI servers read it.
type (
	junitSuites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Time     string   `xml:"time,attr"`
		Suites   []*junitSuite
	}
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Stamp    string      `xml:"timestamp,attr"`
		Cases    []junitCase `xml:"testcase"`
		took     time.Duration
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		Classname string        `xml:"classname,attr"`
		File      string        `xml:"file,attr,omitempty"`
		Line      int           `xml:"line,attr,omitempty"`
		Time      string        `xml:"time,attr"`
		Skipped   *junitMessage `xml:"skipped"`
		Failure   *junitMessage `xml:"failure"`
		Error     *junitMessage `xml:"error"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes a suite for each file. A problem in a file is an error in a case of its
// own, and too little coverage of a policy is a failure in a case of its own, so that
// readers of the report see both.
func (t *run) writeJUnit(w io.Writer) error {
	all := junitSuites{Name: "warder test"}
	suites := map[string]*junitSuite{}
	add := func(file string, c junitCase, took time.Duration) {
		s := suites[file]
		if s == nil {
			s = &junitSuite{Name: file, Stamp: t.now.UTC().Format("2006-01-02T15:04:05")}
			suites[file] = s
			all.Suites = append(all.Suites, s)
		}
		c.Classname, c.Time = file, seconds(took)
		s.Cases, s.took = append(s.Cases, c), s.took+took
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	for _, r := range t.results {
		add(r.Case.Position().File, r.junit(), r.took)
	}
	for _, p := range t.problems {
		add(p.File, junitCase{Name: strings.TrimSpace("file is right " + p.Field), File: p.File, Line: p.Line, Error: &junitMessage{p.Message, "file", p.String()}}, 0)
	}
	for _, line := range t.tooLittle() {
		add("coverage", junitCase{Name: "coverage is enough", Failure: &junitMessage{line, "coverage", line}}, 0)
	}
	var took time.Duration
	for _, s := range all.Suites {
		s.Time = seconds(s.took)
		all.Tests, all.Failures, all.Errors, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, all.Skipped+s.Skipped
		took += s.took
	}
	all.Time = seconds(took)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r testResult) junit() junitCase {
	at := r.Case.Position()
	c := junitCase{Name: r.Case.Name, File: at.File, Line: at.Line}
	switch {
	case r.Skipped != "":
		c.Skipped = &junitMessage{Message: r.Skipped}
	case r.Err != nil:
		c.Error = &junitMessage{r.Err.Error(), "case", r.Err.Error()}
	case r.Failed():
		var text strings.Builder
		r.writeFailure(&text)
		c.Failure = &junitMessage{r.Differences[0].String(), "decision", text.String()}
	}
	return c
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }
