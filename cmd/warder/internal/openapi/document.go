package openapi

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
)

const (
	// maxDocument bounds a document, in bytes.
	maxDocument = 32 << 20
	// maxOperations bounds the operations of a document. A policy file takes fewer routes.
	maxOperations = 50_000
	// maxReferences bounds how many references lead from one to the next.
	maxReferences = 32
)

// An Application holds what an OpenAPI or Swagger document says about an application.
type Application struct {
	name           string // of the document, for messages
	title, version string
	roles          bool // OpenAPI 3.1 or later: the names that a requirement lists for any scheme are roles
	schemes        map[string]scheme
	Operations     []Operation // by path and method
	prefixes       []string    // the base paths of its servers
}

// An Operation is one method of one path.
type Operation struct {
	ID, Method, Template string
	summary              string
	security             security
	policyPath
}

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

// Read reads a document from a file or standard input. It does not read other documents that
// the document refers to. The prefix is put before the paths; if it is nil, the base path of
// the document's servers is.
func Read(p cli.Process, file string, prefix *string) (Application, error) {
	name, data, err := documentBytes(p, file)
	if err == nil {
		var a Application
		if a, err = parse(data, prefix); err == nil {
			a.name = name
			return a, nil
		}
	}
	return Application{}, fmt.Errorf("%s: %w", name, err)
}

func documentBytes(p cli.Process, file string) (name string, data []byte, err error) {
	if file == cli.StandardInput {
		data, err = cli.ReadAll(p.Stdin, maxDocument)
		return cli.InputName(file), data, err
	}
	f, err := os.Open(file)
	if err != nil {
		return file, nil, cli.Bare(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return file, nil, errors.New("is a folder; name a file")
	}
	data, err = cli.ReadAll(f, maxDocument)
	if err != nil {
		err = cli.Bare(err)
	}
	return file, data, err
}

// A reader reads a document. It looks only at what a policy needs: the version, the title, the
// servers, the paths with their methods, what they require, the security schemes, and the
// parameters of paths. All else may be as it likes.
type reader struct {
	*source
	app     Application
	swagger bool    // Swagger 2.0
	prefix  *string // given on the command line
	schemes value
	require security // of the whole document
	servers []string // the base paths of the whole document
}

func parse(data []byte, prefix *string) (Application, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\uFEFF")))
	switch {
	case len(text) == 0:
		return Application{}, errors.New("is empty; it should be an OpenAPI document, such as FastAPI's /openapi.json")
	case text[0] == '<':
		return Application{}, errors.New("is a web page or XML; it should be an OpenAPI document, such as FastAPI's /openapi.json")
	}
	s, err := newSource(data)
	if err != nil {
		return Application{}, fmt.Errorf("is not a readable OpenAPI document: %w", err)
	}
	if s.kind(s.root) != kindGroup {
		return Application{}, fmt.Errorf("is not a readable OpenAPI document: line %d: an object is expected there", s.line(s.root))
	}
	r := reader{source: s, prefix: prefix}
	r.app.schemes = map[string]scheme{}
	if err := r.document(); err != nil {
		return Application{}, err
	}
	slices.SortStableFunc(r.app.Operations, func(a, b Operation) int {
		if c := strings.Compare(a.Template, b.Template); c != 0 {
			return c
		}
		return strings.Compare(a.Method, b.Method)
	})
	return r.app, nil
}

func (r *reader) document() error {
	const where = "the document"
	root, err := r.members(r.root)
	if err != nil {
		return err
	}
	if err := r.readVersion(root); err != nil {
		return err
	}
	info, _, err := r.follow(first(root, "info"), where)
	if err == nil {
		r.app.title, r.app.version = r.text(first(info, "title")), r.text(first(info, "version"))
	}
	if err := r.readSchemes(root); err != nil {
		return err
	}
	if r.require, _, err = r.security(root, where); err != nil {
		return err
	}
	if r.servers, err = r.basePaths(root, where); err != nil {
		return err
	}
	r.app.prefixes = r.servers
	paths, err := r.get(root, where, "paths")
	if err != nil {
		return err
	}
	members, paths, err := r.follow(paths, "the member paths")
	switch kind := r.kind(paths); {
	case err != nil:
		return err
	case kind != kindAbsent && kind != kindNull && kind != kindGroup:
		return r.wrong(paths, "the member paths", "must be a mapping from paths to operations")
	}
	// Azure's extension for paths that differ only in their queries.
	others, err := r.members(first(root, "x-ms-paths"))
	if err != nil {
		return err
	}
	seen := map[string]value{}
	for i, m := range slices.Concat(members, others) {
		if strings.HasPrefix(m.key, "x-") || m.key == "$ref" {
			continue
		}
		where := "the path " + cli.OneLine(m.key, 200)
		if i < len(members) {
			if earlier, twice := seen[m.key]; twice {
				return r.twice(m.value, earlier, "the document", where)
			}
			seen[m.key] = m.value
		}
		if err := r.path(m.key, m.value, where); err != nil {
			return err
		}
	}
	if len(r.app.Operations) == 0 {
		return errors.New("has no paths, so that there is nothing to write a policy for")
	}
	return nil
}

// readVersion checks that warder reads this kind of document.
func (r *reader) readVersion(root []member) error {
	const where = "the document"
	openapi, err := r.get(root, where, "openapi")
	if err != nil {
		return err
	}
	swagger, err := r.get(root, where, "swagger")
	if err != nil {
		return err
	}
	version, old := r.text(openapi), r.text(swagger)
	switch {
	case version != "" && old != "":
		return r.wrong(swagger, where, "has both openapi and swagger, which say where to look for what it requires; keep the one that it is")
	case old == "2.0" || old == "2":
		r.swagger = true
		return nil
	case old != "":
		return fmt.Errorf("is Swagger %s; this warder reads Swagger 2.0 and OpenAPI 3.0, 3.1 and 3.2", cli.OneLine(old, 10))
	case version == "":
		return r.wrongKind(root)
	case version != "3" && !strings.HasPrefix(version, "3."):
		return fmt.Errorf("is OpenAPI %s; this warder reads 3.0, 3.1 and 3.2, and Swagger 2.0", cli.OneLine(version, 20))
	}
	r.app.roles = version != "3" && version != "3.0" && !strings.HasPrefix(version, "3.0.")
	return nil
}

// wrongKind says what a document is that has no version of OpenAPI.
func (r *reader) wrongKind(root []member) error {
	info, _ := r.members(first(root, "info"))
	kind := ""
	switch {
	case r.kind(first(root, "asyncapi")) != kindAbsent:
		kind = "an AsyncAPI document"
	case r.kind(first(root, "swaggerVersion")) != kindAbsent:
		kind = "a document of Swagger 1, whose operations are in other files"
	case r.kind(first(info, "_postman_id")) != kindAbsent, strings.Contains(r.text(first(info, "schema")), "getpostman"):
		kind = "a Postman collection"
	case strings.HasPrefix(r.text(first(root, "kind")), "discovery#"):
		kind = "a Google discovery document"
	}
	if kind != "" {
		return fmt.Errorf("is %s; convert it to OpenAPI 3 first", kind)
	}
	return errors.New("has no OpenAPI version; it should begin like {\"openapi\": \"3.1.0\", …} or {\"swagger\": \"2.0\", …}")
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

// follow returns the members of a mapping, and the mapping. If it is a reference into the
// document, they are those of what it leads to.
func (r *reader) follow(v value, where string) ([]member, value, error) {
	for range maxReferences {
		members, err := r.members(v)
		if err != nil {
			return nil, v, err
		}
		ref, err := r.get(members, where, "$ref")
		if err != nil || !r.isString(ref) {
			return members, v, err
		}
		if v, err = r.target(ref, where); err != nil {
			return nil, v, err
		}
	}
	return nil, v, r.wrong(v, where, "has a reference ($ref) that leads through %d others; write what it stands for", maxReferences)
}

// target returns what a reference leads to.
func (r *reader) target(ref value, where string) (value, error) {
	text := r.text(ref)
	pointer, local := strings.CutPrefix(text, "#")
	if !local {
		return value{}, r.wrong(ref, where, "refers to %s ($ref), and other files are not read; bundle it into one document first, for example with: redocly bundle openapi.yaml -o bundled.yaml", cli.OneLine(text, 100))
	}
	if decoded, err := url.PathUnescape(pointer); err == nil {
		pointer = decoded
	}
	if strings.HasPrefix(pointer, "/") {
		v, found, err := r.pointed(pointer)
		if err != nil || found {
			return v, err
		}
	}
	return value{}, r.wrong(ref, where, "refers to %s ($ref), which the document does not have", cli.OneLine(text, 100))
}

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
