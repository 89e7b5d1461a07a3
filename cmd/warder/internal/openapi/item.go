package openapi

import (
	"fmt"
	"strings"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
)

// path reads the operations of one path.
func (r *reader) path(template string, v value, where string) error {
	item := pathItem{template: template, methods: map[string]bool{}}
	// A path may be a reference and have operations of its own beside it.
	for n := 0; ; n++ {
		switch kind := r.kind(v); {
		case n == 0 && kind == kindNull:
			return nil
		case kind != kindGroup:
			return r.wrong(v, where, "must be a mapping from methods to operations")
		case n > maxReferences:
			return r.wrong(v, where, "has a reference ($ref) that leads through %d others; write what it stands for", maxReferences)
		}
		members, err := r.members(v)
		if err != nil {
			return err
		}
		if err := r.itemMembers(&item, members, where); err != nil {
			return err
		}
		ref, err := r.get(members, where, "$ref")
		if err != nil {
			return err
		}
		if !r.isString(ref) {
			break
		}
		if v, err = r.target(ref, where); err != nil {
			return err
		}
	}
	for _, method := range policy.UsualMethods() {
		if r.kind(item.others) != kindAbsent && !item.methods[method] {
			item.found = append(item.found, foundOperation{method, item.others, ""})
		}
	}
	for _, found := range item.found {
		if err := r.operation(item, found); err != nil {
			return err
		}
	}
	return nil
}

// A pathItem is what a document says about one path.
type pathItem struct {
	template   string
	found      []foundOperation
	methods    map[string]bool // the methods of found
	others     value           // the operation of all other methods; absent if there is none
	parameters []value
	servers    []string
	security   bool // the path says what it requires, which OpenAPI does not know
}

type foundOperation struct {
	method string
	value  value
	wrong  string
}

// itemMembers collects the members of a path.
func (r *reader) itemMembers(item *pathItem, members []member, where string) error {
	seen := map[string]value{}
	for _, m := range members {
		name := strings.ToLower(m.key)
		switch name {
		case "get", "put", "post", "delete", "options", "head", "patch", "trace", "query":
			if earlier, twice := seen[name]; twice {
				return r.twice(m.value, earlier, where, name)
			}
			seen[name] = m.value
			item.add(strings.ToUpper(name), m.value)
		case "additionaloperations":
			if err := r.additional(item, m.value, where); err != nil {
				return err
			}
		case "x-amazon-apigateway-any-method":
			item.others = m.value
		case "parameters":
			item.parameters = append(item.parameters, m.value)
		case "servers":
			servers, err := r.basePaths([]member{m}, where)
			if err != nil {
				return err
			}
			item.servers = append(item.servers, servers...)
		case "security":
			item.security = true
		case "$ref", "summary", "description":
		default:
			if !strings.HasPrefix(name, "x-") && r.kind(m.value) == kindGroup {
				item.found = append(item.found, foundOperation{m.key, m.value, "OpenAPI knows no method of this name"})
			}
		}
	}
	return nil
}

func (item *pathItem) add(method string, v value) {
	item.methods[method] = true
	item.found = append(item.found, foundOperation{method: method, value: v})
}

// additional collects the operations of other methods (OpenAPI 3.2).
func (r *reader) additional(item *pathItem, v value, where string) error {
	members, _, err := r.follow(v, where)
	if err != nil {
		return err
	}
	seen := map[string]value{}
	for _, m := range members {
		if earlier, twice := seen[m.key]; twice {
			return r.twice(m.value, earlier, where, cli.OneLine(m.key, 40))
		}
		seen[m.key] = m.value
		if !strings.HasPrefix(m.key, "x-") {
			item.add(m.key, m.value)
		}
	}
	return nil
}

// operation reads one operation.
func (r *reader) operation(item pathItem, found foundOperation) error {
	if len(r.app.Operations) >= maxOperations {
		return fmt.Errorf("has more than %d operations", maxOperations)
	}
	o := Operation{Method: found.method, Template: item.template}
	if found.wrong != "" {
		o.Wrong = found.wrong
		r.app.Operations = append(r.app.Operations, o)
		return nil
	}
	where := "the operation " + operationName(o)
	members, v, err := r.follow(found.value, where)
	if err != nil {
		return err
	}
	if kind := r.kind(v); kind != kindGroup && kind != kindNull {
		return r.wrong(v, where, "must be a mapping")
	}
	o.ID, o.summary = r.text(first(members, "operationId")), r.text(first(members, "summary"))
	var given bool
	if o.security, given, err = r.security(members, where); err != nil {
		return err
	}
	switch {
	case !given && item.security:
		o.security.wrong = "the path says what it requires, and OpenAPI knows that only for operations and for the document"
	case !given:
		o.security = r.require
	}
	before, err := r.prefixOf(item, members, where)
	if err != nil {
		return err
	}
	parameters, err := r.parameters(item, members)
	if err != nil {
		return err
	}
	o.policyPath = pathOf(before, item.template, parameters)
	if !namesMethod(o.Method) {
		o.policyPath = policyPath{Wrong: "a policy cannot name this method"}
	}
	r.app.Operations = append(r.app.Operations, o)
	return nil
}

// namesMethod reports whether a policy can name a method.
func namesMethod(method string) bool {
	for i := range len(method) {
		c := method[i]
		if c <= ' ' || c >= 0x7f || c >= 'a' && c <= 'z' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return method != ""
}
