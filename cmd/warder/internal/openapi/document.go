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
