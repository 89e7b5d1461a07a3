package openapi

import (
	"errors"
	"slices"
	"strings"
)

// prefixOf returns the prefix of an operation's path: the given prefix, or else the base path
// of the servers of the operation, of its path or of the document.
func (r *reader) prefixOf(item pathItem, members []member, where string) (string, error) {
	if r.prefix != nil {
		return *r.prefix, nil
	}
	own, err := r.basePaths(members, where)
	if err != nil {
		return "", err
	}
	for _, paths := range [][]string{own, item.servers, r.servers} {
		if len(paths) > 0 {
			return paths[0], nil
		}
	}
	return "", nil
}

// basePaths returns the base paths of the servers that the members name, without duplicates. A
// server without a base path has "".
func (r *reader) basePaths(members []member, where string) (paths []string, err error) {
	if r.prefix != nil {
		return nil, nil
	}
	if r.swagger {
		v, err := r.get(members, where, "basePath")
		if err != nil || r.kind(v) == kindAbsent {
			return nil, err
		}
		return []string{basePath(r.text(v), nil)}, nil
	}
	v, err := r.get(members, where, "servers")
	if err != nil {
		return nil, err
	}
	switch r.kind(v) {
	case kindAbsent, kindNull:
		return nil, nil
	case kindList:
	default:
		return nil, r.wrong(v, where, "has servers that are no list; give --prefix, with the path before the paths, or \"\"")
	}
	servers, err := r.items(v)
	if err != nil {
		return nil, err
	}
	for _, server := range servers {
		path, err := r.serverPath(server, where)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func (r *reader) serverPath(server value, where string) (string, error) {
	members, _, err := r.follow(server, where)
	if err != nil {
		return "", err
	}
	address, err := r.get(members, where, "url")
	if err != nil {
		return "", err
	}
	variables, err := r.members(first(members, "variables"))
	if err != nil {
		return "", err
	}
	defaults := map[string]string{}
	for _, m := range variables {
		of, err := r.members(m.value)
		if err != nil {
			return "", err
		}
		if v := first(of, "default"); r.kind(v) == kindScalar {
			defaults[m.key] = r.text(v)
		}
	}
	return basePath(r.text(address), defaults), nil
}

// parameters returns what the document says about the parameters of a path.
func (r *reader) parameters(item pathItem, members []member) (map[string]parameter, error) {
	if !strings.ContainsAny(item.template, "{:<") {
		return nil, nil
	}
	found := map[string]parameter{}
	for _, list := range append(slices.Clone(item.parameters), first(members, "parameters")) {
		all, err := r.items(list)
		if err != nil {
			return nil, err
		}
		for _, v := range all {
			name, p, err := r.parameter(v)
			if err != nil {
				return nil, err
			}
			if name != "" {
				found[name] = p
			}
		}
	}
	return found, nil
}

// parameter reads a parameter of a path. One that cannot be read says nothing.
func (r *reader) parameter(v value) (name string, p parameter, err error) {
	members, _, err := r.follow(v, "a parameter")
	if errors.Is(err, errTooLong) {
		return "", p, err
	}
	if err != nil || r.text(first(members, "in")) != "path" {
		return "", p, nil //nolint:nilerr // a parameter that cannot be read takes one segment
	}
	schema, _, err := r.follow(first(members, "schema"), "a parameter")
	if errors.Is(err, errTooLong) {
		return "", p, err
	}
	for _, m := range slices.Concat(members, schema) {
		switch key := strings.ToLower(m.key); key {
		case "allowreserved", "x-multi-segment", "x-ms-skip-url-encoding", "x-catch-all", "x-catchall", "x-greedy", "x-wildcard":
			if r.isTrue(m.value) {
				p.slashes = m.key + ": true"
			}
		case "format":
			if format := r.text(m.value); format == "path" || format == "file-path" || format == "directory-path" {
				p.slashes = "format: " + format
			}
		case "pattern":
			p.pattern = r.text(m.value)
		}
	}
	return r.text(first(members, "name")), p, nil
}

// basePath returns the path of a server's URL, without a slash at its end. Variables have
// their defaults; one that has none is a parameter.
func basePath(address string, defaults map[string]string) string {
	for name, text := range defaults {
		address = strings.ReplaceAll(address, "{"+name+"}", text)
	}
	address, _, _ = strings.Cut(address, "?")
	address, _, _ = strings.Cut(address, "#")
	authority := false
	if _, after, found := strings.Cut(address, "://"); found {
		address, authority = after, true
	} else if after, found := strings.CutPrefix(address, "//"); found {
		address, authority = after, true
	}
	// A variable at the beginning stands for a whole URL.
	if authority || strings.HasPrefix(address, "{") {
		_, after, _ := strings.Cut(address, "/")
		address = "/" + after
	}
	// Documents are served at the root of an application, so that relative URLs begin there.
	var kept []string
	for s := range strings.SplitSeq(address, "/") {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return "/" + strings.Join(kept, "/")
}
