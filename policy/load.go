package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A File is the name, for messages, and the content of a policy file.
type File struct {
	Name string
	Data []byte
}

// Load reads a policy from a file, or from a folder of *.yaml and *.yml files, by
// name; folders in it and names that begin with a dot, such as those that
// Kubernetes swaps, are left out. Every problem of every file is in the error, a
// [Problems] value. env looks up the ${VAR} of ip_lists, like os.LookupEnv.
func Load(path string, env func(string) (string, bool)) (*Policy, error) {
	files, err := readFiles(path)
	if err != nil {
		return nil, err
	}
	return Parse(files, env)
}

func readFiles(path string) ([]File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.IsDir() {
		f, err := readFile(path)
		if err != nil {
			return nil, err
		}
		return []File{f}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	var files []File
	var problems Problems
	for _, e := range entries { // sorted by name
		name := e.Name()
		if ext := filepath.Ext(name); strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		file := filepath.Join(path, name)
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			continue
		}
		f, err := readFile(file)
		if found, ok := errors.AsType[Problems](err); ok {
			problems = append(problems, found...)
			continue
		}
		files = append(files, f)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, Problems{{Position: Position{File: path}, Message: "holds no *.yaml file; a policy is at least one"}}
	}
	return files, nil
}

// readFile reads no more than is needed to see that a file is too large.
func readFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return File{}, unreadable(path, err)
	}
	return File{Name: path, Data: data}, nil
}

func unreadable(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return Problems{{Position: Position{File: path}, Message: fmt.Sprintf("cannot be read: %v", err)}}
}
