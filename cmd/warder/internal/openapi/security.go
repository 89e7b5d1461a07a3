package openapi

import (
	"warder/cmd/warder/internal/cli"
)

// A scheme is a security scheme. The zero scheme is one that the document does not define.
type scheme struct{ kind, scheme, in, name string }

// A security is a list of requirements, each of which is enough alone.
type security struct {
	wrong string // why the list cannot be read
	ways  [][]wanted
}

// A wanted is a scheme of a requirement, with the scopes or roles that it lists.
type wanted struct {
	scheme string
	listed []string
	wrong  bool // what is listed is not a list of names
}

// readSchemes finds the mapping of security schemes. A scheme is read when it is used.
func (r *reader) readSchemes(root []member) error {
	if r.swagger {
		var err error
		r.schemes, err = r.get(root, "the document", "securityDefinitions")
		return err
	}
	components, err := r.get(root, "the document", "components")
	if err != nil {
		return err
	}
	members, err := r.members(components)
	if err != nil {
		return err
	}
	r.schemes, err = r.get(members, "the member components", "securitySchemes")
	return err
}

// security reads what the document or an operation requires. given is false if it does not say.
func (r *reader) security(members []member, where string) (found security, given bool, err error) {
	v, err := r.get(members, where, "security")
	if err != nil || r.kind(v) == kindAbsent {
		return found, false, err
	}
	if r.kind(v) != kindList {
		found.wrong = "security must be a list of requirements"
		return found, true, nil
	}
	ways, err := r.items(v)
	if err != nil {
		return found, true, err
	}
	for _, way := range ways {
		if r.kind(way) != kindGroup {
			found.wrong = "a requirement of security must be a mapping, such as token: []"
			continue
		}
		schemes, err := r.members(way)
		if err != nil {
			return found, true, err
		}
		all := []wanted{}
		seen := map[string]value{}
		for _, m := range schemes {
			if earlier, twice := seen[m.key]; twice {
				return found, true, r.twice(m.value, earlier, where, "the security scheme "+cli.OneLine(m.key, 60))
			}
			seen[m.key] = m.value
			one, err := r.wanted(m)
			if err != nil {
				return found, true, err
			}
			all = append(all, one)
		}
		found.ways = append(found.ways, all)
	}
	return found, true, nil
}

// wanted reads one scheme of a requirement.
func (r *reader) wanted(m member) (wanted, error) {
	w := wanted{scheme: m.key}
	if err := r.readScheme(m.key); err != nil {
		return w, err
	}
	kind := r.kind(m.value)
	names, err := r.items(m.value)
	w.wrong = kind != kindList && kind != kindNull
	for _, name := range names {
		if r.kind(name) != kindScalar {
			w.wrong = true
		}
		w.listed = append(w.listed, r.text(name))
	}
	return w, err
}

// readScheme reads the security scheme of a name, once.
func (r *reader) readScheme(name string) error {
	if _, known := r.app.schemes[name]; known {
		return nil
	}
	where := "the security scheme " + cli.OneLine(name, 60)
	_, all, err := r.follow(r.schemes, where)
	if err != nil {
		return err
	}
	index, err := r.indexed(all.plain())
	if err != nil {
		return err
	}
	defined := index[name]
	switch len(defined) {
	case 0:
		r.app.schemes[name] = scheme{}
		return nil
	case 1:
	default:
		return r.twice(defined[1], defined[0], "the document", where)
	}
	members, _, err := r.follow(defined[0], where)
	if err != nil {
		return err
	}
	var found scheme
	for key, to := range map[string]*string{"type": &found.kind, "scheme": &found.scheme, "in": &found.in, "name": &found.name} {
		v, err := r.get(members, where, key)
		if err != nil {
			return err
		}
		*to = r.text(v)
	}
	if found.kind == "basic" { // of Swagger 2.0
		found.kind, found.scheme = "http", "basic"
	}
	r.app.schemes[name] = found
	return nil
}
