package policytest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"warder/policy"
	"warder/policy/strict"
)

// maxFile catches a wrong file name. It is in bytes.
const maxFile = 16 << 20

// Load reads a file of cases. The error is a [policy.Problems] with every problem.
func Load(path string) (*File, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, policy.Problems{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	return Parse(path, data)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	if info.IsDir() {
		return nil, fmt.Errorf("is a folder; name files, as in %s", filepath.Join(path, "*.yaml"))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	case len(data) > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB; name a file of cases", maxFile>>20)
	}
	return data, nil
}

// Parse parses a file of cases. path is its name in messages, and policy_file is relative to
// the folder of path.
func Parse(path string, data []byte) (*File, error) {
	v, problems := strict.Parse(strict.File{Name: path, Data: data}, strict.Limits{Bytes: maxFile, TooLarge: "name a file of cases", Aliases: true})
	r := &strict.Reader{Digits: true, Problems: problems}
	f := &File{Path: path, Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), read: r, source: data}
	whole := policy.Position{File: path}
	if v.Kind != strict.Group {
		switch v.Kind {
		case strict.Broken: // reported
		case strict.Null:
			r.Fail(whole, "", "is empty; write a policy and cases")
		default:
			r.Fail(v.At, "", "is not a group of keys; write policy: and cases:")
		}
		return nil, r.Problems.Err()
	}
	if other := policy.OtherFile("a file of cases", v.Keys()); other != "" {
		r.Fail(v.At, "", "%s", other)
		return nil, r.Problems.Err()
	}
	// Cases are read one by one, so that the problems of all of them are reported.
	i := slices.IndexFunc(v.Entries, func(e strict.Entry) bool { return e.Key == "cases" })
	var cases strict.Value
	if i >= 0 {
		cases = v.Entries[i].Value
		v.Entries = slices.Delete(v.Entries, i, i+1)
	}
	r.Read("", v, f)
	r.SetPlace("", whole)
	report := func(field, format string, args ...any) { r.Fail(r.Near(field), field, format, args...) }
	if len(r.Problems) == 0 {
		f.complete(report)
	}
	var kept []int
	switch {
	case i < 0:
		report("", "has no cases; give at least one, as in cases: [{name: …, want: deny route_unmatched, request: GET /nowhere}]")
	case cases.Kind != strict.List:
		r.WrongKind("cases", cases, "a list")
	case len(cases.Items) == 0:
		r.Fail(cases.At, "cases", "is an empty list; give at least one case")
	}
	for i, item := range cases.Items {
		c, before := new(Case), len(r.Problems)
		r.Read(strict.Index("cases", i), item, c)
		if len(r.Problems) == before && item.Kind == strict.Group {
			f.Cases, kept = append(f.Cases, c), append(kept, i)
		}
	}
	f.completeCases(kept, report)
	if err := r.Problems.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// bare removes the path from a file error, because the message contains it already.
func bare(err error) error {
	if e, ok := err.(*os.PathError); ok { //nolint:errorlint // package os returns it unwrapped
		return e.Err
	}
	return err
}
