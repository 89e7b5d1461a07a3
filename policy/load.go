package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"warder/policy/condition"
	"warder/policy/strict"
)

// A File is the name, for messages, and the content of a policy file.
type File = strict.File

// maxFile bounds a policy file, in bytes. It is enough for ten thousand routes.
const maxFile = 4 << 20

var fileLimits = strict.Limits{Bytes: maxFile, TooLarge: "split it into a folder of files", Hint: condition.HintYAML}

// Load reads a policy from a file, or from the *.yaml and *.yml files of a folder in the order
// of their names. Other files of the folder are not read; there is a warning about those that
// somebody may take for a part of the policy. The error is of type [Problems], with all
// problems of all files. env looks up the ${VAR} of ip_lists, like os.LookupEnv.
func Load(path string, env func(string) (string, bool)) (*Policy, error) {
	files, left, err := readFiles(path)
	if err != nil {
		return nil, err
	}
	p, err := Parse(files, env)
	if err != nil {
		return nil, err
	}
	p.warnings = append(left, p.warnings...).Sorted()
	return p, nil
}

// readFiles reads the files of a policy. left are warnings about files that it does not read.
func readFiles(path string) (files []File, left Problems, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	if !info.IsDir() {
		// A pipe of the shell, as in <(…), has a writer. Reading any other could block forever.
		if !info.Mode().IsRegular() && !strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/proc/") {
			return nil, nil, Problems{{Position: Position{File: path}, Message: "is not a regular file; name a file, or a folder of *.yaml"}}
		}
		f, err := readFile(path)
		if err != nil {
			return nil, nil, err
		}
		return []File{f}, nil, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	var problems Problems
	for _, e := range entries { // sorted by name
		name := e.Name()
		file := filepath.Join(path, name)
		info, err := os.Stat(file)
		ext := filepath.Ext(name)
		switch {
		case isLeftover(name):
			continue
		case err == nil && info.IsDir():
			left = append(left, Problem{Position: Position{File: file}, Message: "is a folder and is not read; put its files into the folder of the policy"})
			continue
		case strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml":
			left = append(left, Problem{Position: Position{File: file}, Message: leftOut(name)})
			continue
		case err == nil && !info.Mode().IsRegular():
			// Reading a pipe could block forever.
			problems = append(problems, Problem{Position: Position{File: file}, Message: "is not a regular file; remove it from the folder, or put a file in its place"})
			continue
		}
		f, err := readFile(file)
		if found, ok := errors.AsType[Problems](err); ok {
			problems = append(problems, found...)
			continue
		}
		files = append(files, f)
	}
	if err := problems.Err(); err != nil {
		return nil, nil, err
	}
	if len(files) == 0 {
		return nil, nil, append(Problems{{Position: Position{File: path}, Message: "contains no *.yaml file; a policy needs at least one"}}, left...)
	}
	return files, left, nil
}

// leftOut says why a file in the folder of a policy is not read.
func leftOut(name string) string {
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case strings.HasPrefix(name, "."):
		return "is not read, since its name begins with a dot; remove it from the folder, or rename it"
	case ext == ".yaml" || ext == ".yml":
		return "is not read, since its name ends in capitals; rename it to *.yaml"
	}
	return "is not read, since its name does not end in .yaml or .yml; remove it from the folder, or rename it"
}

// isLeftover reports whether editors, operating systems and Kubernetes create files of this
// name, which nobody takes for a policy.
func isLeftover(name string) bool {
	switch {
	case strings.HasPrefix(name, ".."): // ..data and ..2026_01_31 of a mounted ConfigMap
		return true
	case strings.HasSuffix(name, "~"), strings.HasPrefix(name, ".#"), strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"): // Emacs, vi
		return true
	case name == "4913", name == ".DS_Store", name == "Thumbs.db", name == "lost+found", strings.HasPrefix(name, ".nfs"), strings.HasPrefix(name, ".fuse_hidden"):
		return true
	case name == ".git", name == ".gitignore", name == ".gitkeep", name == ".hg", name == ".svn", name == ".editorconfig", name == ".helmignore":
		return true
	}
	switch filepath.Ext(name) {
	case ".swp", ".swo", ".swx", ".tmp":
		return true
	case ".md", ".txt", "": // a README beside the policy; a folder has its own warning
		return strings.HasPrefix(strings.ToLower(name), "readme") || strings.HasPrefix(strings.ToLower(name), "license")
	}
	return false
}

// readFile reads a file, up to one byte more than is allowed.
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
