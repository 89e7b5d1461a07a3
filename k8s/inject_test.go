package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

const (
	injectFile     = "inject/inject.yaml"
	injectTemplate = "testdata/inject/inject.yaml.tmpl"
	injectLabel    = "warder.dev/inject"
)

// TestInjectIsSidecar checks that inject/inject.yaml is made from the patch of
// kustomize/sidecar, which other tests hold equal to the chart and to sidecar.yaml.
func TestInjectIsSidecar(t *testing.T) {
	t.Parallel()
	tmpl, err := template.ParseFiles(injectTemplate)
	if err != nil {
		t.Fatal(err)
	}
	var made bytes.Buffer
	if err := tmpl.Execute(&made, injected(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(injectFile, made.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(injectFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), made.String()); diff != "" {
		t.Errorf("%s is not made from kustomize/sidecar; run go test ./k8s -run TestInject -update (-file +made):\n%s", injectFile, diff)
	}
}

// An injection is what the template needs of the patch: expressions of CEL.
type injection struct {
	Containers, Volumes       string
	SecurityContext           []field
	EnableServiceLinks        string
	IsWarder, IsEnvoy         string
	WarderMounts, EnvoyMounts string
	VolumeChecks              []volumeCheck
	VolumeNames               string
	PortNames, PortNumbers    string

	PortNamesText, PortNumbersText string
}

type field struct {
	Name, Value string
	Last        bool
}

type volumeCheck struct{ Name, Is, What string }

// injected reads the patch.
func injected(t *testing.T) injection {
	t.Helper()
	data, err := os.ReadFile("kustomize/sidecar/patch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Spec struct {
			Template struct {
				Spec struct {
					InitContainers     []yaml.Node `yaml:"initContainers"`
					Volumes            []yaml.Node
					SecurityContext    yaml.Node `yaml:"securityContext"`
					EnableServiceLinks bool      `yaml:"enableServiceLinks"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &patch); err != nil {
		t.Fatal(err)
	}
	var plain map[string]any
	if err := yaml.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	spec := patch.Spec.Template.Spec
	pod := into[podSpec](dig(into[map[string]any](plain), "spec", "template", "spec"))
	if len(pod.InitContainers) != 2 || pod.InitContainers[0].Name != "warder" || pod.InitContainers[1].Name != "envoy" {
		t.Fatal("the patch has other containers than warder and envoy")
	}
	in := injection{EnableServiceLinks: strconv.FormatBool(spec.EnableServiceLinks)}
	// Each is put before all others, so the last one is the first.
	var containers, volumes []string
	for _, c := range slices.Backward(spec.InitContainers) {
		containers = append(containers, celOf(t, &c, "Object.spec.initContainers", 12))
	}
	for _, v := range spec.Volumes {
		volumes = append(volumes, celOf(t, &v, "Object.spec.volumes", 12))
	}
	const between = ",\n"
	in.Containers, in.Volumes = strings.Join(containers, between), strings.Join(volumes, between)
	for i := 0; i < len(spec.SecurityContext.Content); i += 2 {
		name, value := spec.SecurityContext.Content[i].Value, spec.SecurityContext.Content[i+1]
		in.SecurityContext = append(in.SecurityContext, field{
			Name: name, Value: strings.TrimSpace(celOf(t, value, "Object.spec.securityContext."+name, 0)), Last: i == len(spec.SecurityContext.Content)-2,
		})
	}
	in.IsWarder, in.WarderMounts = recognise(pod.InitContainers[0])
	in.IsEnvoy, in.EnvoyMounts = recognise(pod.InitContainers[1])
	var names, ports, numbers []string
	for _, v := range pod.Volumes {
		names = append(names, "'"+v.Name+"'")
		is := volumeCheck{Name: v.Name, Is: "v.name == '" + v.Name + "' && "}
		switch {
		case v.ConfigMap != nil:
			is.Is += "has(v.configMap) && v.configMap.name == '" + v.ConfigMap.Name + "'"
			is.What = "the ConfigMap " + v.ConfigMap.Name
		case v.Secret != nil:
			is.Is += "has(v.secret) && v.secret.secretName == '" + v.Secret.SecretName + "'"
			is.What = "the Secret " + v.Secret.SecretName
		case v.EmptyDir != nil:
			is.Is += "has(v.emptyDir)"
			is.What = "an emptyDir"
		default:
			t.Fatalf("volume %s has an unknown kind", v.Name)
		}
		in.VolumeChecks = append(in.VolumeChecks, is)
	}
	for _, c := range pod.InitContainers {
		for _, p := range c.Ports {
			ports = append(ports, "'"+p.Name+"'")
			numbers = append(numbers, strconv.Itoa(p.ContainerPort))
		}
	}
	in.VolumeNames, in.PortNames, in.PortNumbers = strings.Join(names, ", "), strings.Join(ports, ", "), strings.Join(numbers, ", ")
	in.PortNamesText, in.PortNumbersText = strings.ReplaceAll(strings.Join(ports, " or "), "'", `"`), strings.Join(numbers, " or ")
	return in
}

// recognise returns what tells a container from another one of the same name.
func recognise(c container) (is, mounts string) {
	args, err := json.Marshal(c.Args)
	if err != nil {
		panic(err) // strings have a JSON form
	}
	is = fmt.Sprintf("c.name == '%s' && has(c.restartPolicy) && c.restartPolicy == '%s' && has(c.args) && c.args == %s",
		c.Name, c.RestartPolicy, strings.ReplaceAll(string(args), ",", ", "))
	all := []string{"has(c.volumeMounts)"}
	for _, m := range c.VolumeMounts {
		all = append(all, fmt.Sprintf("c.volumeMounts.exists(m, m.name == '%s' && m.mountPath == '%s')", m.Name, m.MountPath))
	}
	return is, strings.Join(all, " &&\n        ")
}

// celOf returns a value of YAML as an expression of CEL, with typed objects in the place of
// maps: CEL in an API server has no maps with values of several types.
func celOf(t *testing.T, n *yaml.Node, object string, indent int) string {
	t.Helper()
	space := strings.Repeat(" ", indent)
	switch n.Kind {
	case yaml.MappingNode:
		var fields []string
		for i := 0; i < len(n.Content); i += 2 {
			name, value := n.Content[i].Value, n.Content[i+1]
			fields = append(fields, name+": "+strings.TrimSpace(celOf(t, value, object+"."+name, indent+2)))
		}
		if one := space + object + "{" + strings.Join(fields, ", ") + "}"; len(one) < 150 && !strings.Contains(one, "\n") {
			return one
		}
		return space + object + "{\n" + space + "  " + strings.Join(fields, ",\n"+space+"  ") + "}"
	case yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			items = append(items, celOf(t, item, object, indent+2))
		}
		if one := strings.Join(items, ", "); !strings.Contains(one, "{") {
			for i := range items {
				items[i] = strings.TrimSpace(items[i])
			}
			return space + "[" + strings.Join(items, ", ") + "]"
		}
		return space + "[\n" + strings.Join(items, ",\n") + "]"
	default:
		var value any
		if err := n.Decode(&value); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return space + string(text)
	}
}

// An admission does for one pod what an API server does with the policies of inject.yaml.
type admission struct {
	env        *cel.Env
	conditions []expression
	mutations  []string
	// What a pod must be, and what a workload must be.
	pods, templates validating
}

type expression struct{ Name, Expression string }

type validating struct {
	Variables   []expression
	Validations []struct{ Expression, Message, MessageExpression string }
}

func newAdmission(t *testing.T) *admission {
	t.Helper()
	text, err := os.ReadFile(injectFile)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := parseObjects(injectFile, string(text))
	if err != nil {
		t.Fatal(err)
	}
	f := &form{objects: objects}
	policy, ok := f.find("MutatingAdmissionPolicy warder-inject")
	if !ok {
		t.Fatal("no policy")
	}
	type mutation struct {
		PatchType string
		JSONPatch struct{ Expression string }
	}
	a := &admission{conditions: into[[]expression](dig(policy.doc, "spec", "matchConditions"))}
	for _, m := range into[[]mutation](dig(policy.doc, "spec", "mutations")) {
		if m.PatchType != "JSONPatch" {
			t.Errorf("patchType %s", m.PatchType)
		}
		a.mutations = append(a.mutations, m.JSONPatch.Expression)
	}
	for name, v := range map[string]*validating{"warder-injected": &a.pods, "warder-inject-template": &a.templates} {
		o, ok := f.find(key("ValidatingAdmissionPolicy", "", name))
		if !ok {
			t.Fatalf("no policy %s", name)
		}
		*v = into[validating](o.doc["spec"])
	}
	for _, o := range objects {
		if strings.HasSuffix(o.kind(), "Policy") && o.text("spec", "failurePolicy") != "Fail" {
			t.Errorf("%s: a pod that cannot be checked is not refused", o)
		}
		if kind, isBinding := strings.CutSuffix(o.kind(), "Binding"); isBinding {
			if _, found := f.find(key(kind, "", o.text("spec", "policyName"))); !found {
				t.Errorf("%s binds no policy", o)
			}
		}
	}
	// As in an API server: lists and maps have values of one type.
	a.env, err = cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.Variable("object", cel.DynType), cel.Variable("variables", cel.MapType(cel.StringType, cel.DynType)),
		func(e *cel.Env) (*cel.Env, error) {
			p := objectTypes{e.CELTypeProvider()}
			return cel.CustomTypeProvider(p)(e)
		})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// eval returns the value of an expression for an object.
func (a *admission) eval(text string, object any, variables map[string]any) (celref.Val, error) {
	ast, issues := a.env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	program, err := a.env.Program(ast)
	if err != nil {
		return nil, err
	}
	out, _, err := program.Eval(map[string]any{"object": object, "variables": variables})
	return out, err
}

// mutate returns the pod as the MutatingAdmissionPolicy makes it.
func (a *admission) mutate(pod map[string]any) (map[string]any, error) {
	if dig(pod, "metadata", "labels", injectLabel) != "true" {
		return pod, nil
	}
	for _, c := range a.conditions {
		matches, err := a.eval(c.Expression, pod, nil)
		if err != nil || matches != types.True {
			return pod, err
		}
	}
	for _, m := range a.mutations {
		out, err := a.eval(m, pod, nil)
		if err != nil {
			return nil, err
		}
		list, ok := out.(traits.Lister)
		if !ok {
			return nil, fmt.Errorf("%T is no list of patches", out)
		}
		operations := []any{}
		for it := list.Iterator(); it.HasNext() == types.True; {
			operations = append(operations, plainValue(it.Next()))
		}
		if pod, err = apply(pod, operations); err != nil {
			return nil, err
		}
	}
	return pod, nil
}

func apply(pod map[string]any, operations []any) (map[string]any, error) {
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	after, err := patch.Apply(before)
	if err != nil {
		return nil, err
	}
	var changed map[string]any
	return changed, json.Unmarshal(after, &changed)
}

// refusal returns why the API server refuses the object, "" if it does not.
func (a *admission) refusal(v validating, object map[string]any) (string, error) {
	variables := map[string]any{}
	for _, each := range v.Variables {
		value, err := a.eval(each.Expression, object, variables)
		if err != nil {
			return "", err
		}
		variables[each.Name] = value
	}
	for _, each := range v.Validations {
		valid, err := a.eval(each.Expression, object, variables)
		switch {
		case err != nil:
			return err.Error(), nil //nolint:nilerr // failurePolicy: Fail makes a refusal of it
		case valid == types.True:
		case each.MessageExpression != "":
			message, err := a.eval(each.MessageExpression, object, variables)
			if err != nil {
				return "", err
			}
			return fmt.Sprint(message.Value()), nil
		default:
			return each.Message, nil
		}
	}
	return "", nil
}

// admit returns the pod as it is made, or why it is refused.
func (a *admission) admit(pod map[string]any) (map[string]any, string, error) {
	pod, err := a.mutate(pod)
	if err != nil {
		return nil, "", err
	}
	if twice := duplicates(pod); twice != "" {
		return nil, twice, nil
	}
	if _, labelled := dig(pod, "metadata", "labels").(map[string]any)[injectLabel]; !labelled {
		return pod, "", nil
	}
	refused, err := a.refusal(a.pods, pod)
	return pod, refused, err
}

// duplicates is the rule of the API server itself, of which the policy makes use: names of
// containers and of volumes are unique in a pod.
func duplicates(pod map[string]any) string {
	p := into[podSpec](pod["spec"])
	seen := map[string]bool{}
	for _, c := range p.containers() {
		if seen[c.Name] {
			return "Duplicate value: container " + c.Name
		}
		seen[c.Name] = true
	}
	seen = map[string]bool{}
	for _, v := range p.Volumes {
		if seen[v.Name] {
			return "Duplicate value: volume " + v.Name
		}
		seen[v.Name] = true
	}
	return ""
}

// objectTypes adds to the types of CEL those of admission policies: JSONPatch, and Object with
// whatever fields, whose names are their place in the object.
type objectTypes struct{ types.Provider }

func isObjectType(name string) bool {
	return name == "JSONPatch" || name == "Object" || strings.HasPrefix(name, "Object.")
}

func (p objectTypes) FindStructType(name string) (*types.Type, bool) {
	if isObjectType(name) {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p objectTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	switch {
	case name == "JSONPatch" && slices.Contains([]string{"op", "path", "from"}, field):
		return &types.FieldType{Type: types.StringType}, true
	case isObjectType(name) && (name != "JSONPatch" || field == "value"):
		return &types.FieldType{Type: types.DynType}, true
	}
	return p.Provider.FindStructFieldType(name, field)
}

func (p objectTypes) NewValue(name string, fields map[string]celref.Val) celref.Val {
	if !isObjectType(name) {
		return p.Provider.NewValue(name, fields)
	}
	for field, value := range fields {
		if err := wellPlaced(name+"."+field, value); err != nil && name != "JSONPatch" {
			return types.WrapErr(err)
		}
	}
	return objectValue{name, fields}
}

// wellPlaced checks that an object, or one in a list, is of the type of its field.
func wellPlaced(place string, value celref.Val) error {
	switch v := value.(type) {
	case objectValue:
		if v.name != place {
			return fmt.Errorf("an object of type %s at %s", v.name, place)
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			if err := wellPlaced(place, it.Next()); err != nil {
				return err
			}
		}
	}
	return nil
}

// An objectValue is a literal of such a type.
type objectValue struct {
	name   string
	fields map[string]celref.Val
}

func (objectValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("not convertible")
}
func (objectValue) ConvertToType(celref.Type) celref.Val { return types.NewErr("not convertible") }
func (objectValue) Equal(celref.Val) celref.Val          { return types.False }
func (v objectValue) Type() celref.Type                  { return types.NewObjectType(v.name) }
func (v objectValue) Value() any                         { return plainValue(v) }

// plainValue returns a value of CEL as it is in JSON.
func plainValue(v celref.Val) any {
	switch v := v.(type) {
	case objectValue:
		m := map[string]any{}
		for name, value := range v.fields {
			m[name] = plainValue(value)
		}
		return m
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			list = append(list, plainValue(it.Next()))
		}
		return list
	}
	return v.Value()
}

// examplePod returns the pod of a Deployment in inject/example.yaml, changed by edit.
func examplePod(t *testing.T, edit func(pod map[string]any)) map[string]any {
	t.Helper()
	template := dig(exampleDeployment(t).doc, "spec", "template").(map[string]any)
	template = into[map[string]any](template)
	if edit != nil {
		edit(template)
	}
	return into[map[string]any](template)
}

func exampleObjects(t *testing.T) []object {
	t.Helper()
	text, err := os.ReadFile("inject/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := parseObjects("inject/example.yaml", string(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func exampleDeployment(t *testing.T) object {
	t.Helper()
	d, ok := (&form{objects: exampleObjects(t)}).find("Deployment app/app")
	if !ok {
		t.Fatal("no Deployment in the example")
	}
	return d
}

// TestInjectedPod checks the application of inject/example.yaml, injected, beside the ConfigMaps
// that README.md has commands for, in the same way as the manifests of this folder.
func TestInjectedPod(t *testing.T) {
	t.Parallel()
	a := newAdmission(t)
	objects := exampleObjects(t)
	pod, refused, err := a.admit(examplePod(t, nil))
	if err != nil || refused != "" {
		t.Fatalf("%s, %v", refused, err)
	}
	for _, o := range objects {
		if o.kind() == "Deployment" {
			o.doc["spec"].(map[string]any)["template"] = pod
		}
	}
	var b strings.Builder
	for _, o := range objects {
		text, err := yaml.Marshal(o.doc)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(string(text) + "---\n")
	}
	for name, file := range map[string]string{"warder-config": "warder.yaml", "warder-policy": "policy.yaml", "envoy": "envoy.yaml"} {
		data, err := os.ReadFile("kustomize/base/" + file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "app"}, "data": map[string]any{file: string(data)},
		})
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(string(text) + "---\n")
	}
	policies, err := os.ReadFile(injectFile)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"inject/example.yaml": b.String(), injectFile: string(policies)}
	for _, problem := range check(t, all, slices.Sorted(maps.Keys(all))) {
		t.Error(problem)
	}

	// Not one field differs from a pod of sidecar.yaml but the names of what it reads.
	manifest, err := parseObjects("sidecar.yaml", readManifests(t)["sidecar.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	deployment, _ := (&form{objects: manifest}).find("Deployment app/app")
	for _, part := range []string{"initContainers", "securityContext", "enableServiceLinks"} {
		if diff := cmp.Diff(dig(deployment.doc, "spec", "template", "spec", part), dig(pod, "spec", part)); diff != "" {
			t.Errorf("%s (-sidecar.yaml +injected):\n%s", part, diff)
		}
	}
	again, refused, err := a.admit(pod)
	if err != nil || refused != "" {
		t.Fatalf("an injected pod: %s, %v", refused, err)
	}
	if diff := cmp.Diff(pod, again); diff != "" {
		t.Errorf("injected twice:\n%s", diff)
	}
}

// TestInject checks pods of many shapes: each has warder before Envoy before its own init
// containers, or is refused with the reason.
func TestInject(t *testing.T) {
	t.Parallel()
	a := newAdmission(t)
	spec := func(pod map[string]any) map[string]any { return pod["spec"].(map[string]any) }
	app := func(pod map[string]any) map[string]any {
		return spec(pod)["containers"].([]any)[0].(map[string]any)
	}
	put := func(name string, value any) func(map[string]any) {
		return func(pod map[string]any) { spec(pod)[name] = into[any](value) }
	}
	label := func(value string) func(map[string]any) {
		return func(pod map[string]any) {
			pod["metadata"].(map[string]any)["labels"].(map[string]any)[injectLabel] = value
		}
	}
	type m = map[string]any
	type l = []any
	migrate := m{"name": "migrate", "image": "migrate:1"}
	// What the injection makes, for pods that have it already.
	made, _, err := a.admit(examplePod(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	madeInit := spec(made)["initContainers"].([]any)
	for _, tt := range []struct {
		name, want string // want: part of the refusal, "" for an injected pod
		edit       func(pod map[string]any)
	}{
		{"nothing of its own", "", func(pod map[string]any) {
			pod["spec"] = m{"containers": l{m{"name": "app", "image": "app:1"}}}
		}},
		{"empty lists and maps", "", func(pod map[string]any) {
			pod["spec"] = m{"containers": l{m{"name": "app", "image": "app:1"}}, "initContainers": l{}, "volumes": l{}, "securityContext": m{}}
		}},
		{"init containers", "", put("initContainers", l{migrate, m{"name": "log", "image": "log:1", "restartPolicy": "Always"}})},
		{"volumes", "", put("volumes", l{m{"name": "data", "emptyDir": m{}}})},
		{"service links", "", put("enableServiceLinks", true)},
		{"its own fsGroup", "", put("securityContext", m{"fsGroup": 2000})},
		{"its own security context", "", put("securityContext", m{"runAsNonRoot": false, "fsGroup": 2000, "supplementalGroups": l{5}, "seccompProfile": m{"type": "Localhost", "localhostProfile": "p"}})},
		{"ports of its own", "", func(pod map[string]any) {
			app(pod)["ports"] = l{m{"containerPort": 8080}, m{"name": "web", "containerPort": 8081}}
		}},

		{"an init container named warder", "Duplicate value: container warder", put("initContainers", l{m{"name": "warder", "image": "other:1"}})},
		{"a sidecar named warder", "Duplicate value: container warder", put("initContainers", l{m{"name": "warder", "image": "other:1", "restartPolicy": "Always", "args": l{"run"}}})},
		{"an init container named envoy", "Duplicate value: container envoy", put("initContainers", l{m{"name": "envoy", "image": "other:1"}})},
		{"a container named warder", "Duplicate value: container warder", func(pod map[string]any) { app(pod)["name"] = "warder" }},
		{"a container named envoy", "Duplicate value: container envoy", func(pod map[string]any) { app(pod)["name"] = "envoy" }},
		{"warder without envoy", "Duplicate value: container warder", put("initContainers", madeInit[:1])},
		{"sidecars in another order", "warder must start before Envoy", func(pod map[string]any) {
			pod["spec"] = into[any](made["spec"])
			spec(pod)["initContainers"] = l{madeInit[1], madeInit[0]}
		}},
		{"warder without its mounts", `no init container "warder"`, func(pod map[string]any) {
			pod["spec"] = into[any](made["spec"])
			delete(spec(pod)["initContainers"].([]any)[0].(map[string]any), "volumeMounts")
		}},
		{"envoy without the socket", `no init container "envoy"`, func(pod map[string]any) {
			pod["spec"] = into[any](made["spec"])
			envoy := spec(pod)["initContainers"].([]any)[1].(map[string]any)
			envoy["volumeMounts"] = envoy["volumeMounts"].([]any)[:1]
		}},
		{"a volume named warder-policy", "Duplicate value: volume warder-policy", put("volumes", l{m{"name": "warder-policy", "emptyDir": m{}}})},
		{"a volume named envoy", "Duplicate value: volume envoy", put("volumes", l{m{"name": "envoy", "configMap": m{"name": "mine"}}})},
		{"another policy in an injected pod", `the volume "warder-policy" must be the ConfigMap warder-policy`, func(pod map[string]any) {
			pod["spec"] = into[any](made["spec"])
			for _, v := range spec(pod)["volumes"].([]any) {
				if v := v.(map[string]any); v["name"] == "warder-policy" {
					v["configMap"] = m{"name": "open"}
				}
			}
		}},
		{"an injected pod without its volumes", `the volume "warder-config" must be`, func(pod map[string]any) {
			pod["spec"] = into[any](made["spec"])
			delete(spec(pod), "volumes")
		}},
		{"an injected pod without fsGroup", "fsGroup is missing", func(pod map[string]any) {
			pod["spec"] = into[any](made["spec"])
			delete(spec(pod), "securityContext")
		}},
		{"a container that mounts the secrets", "mounts a volume of warder", func(pod map[string]any) {
			app(pod)["volumeMounts"] = l{m{"name": "warder-secrets", "mountPath": "/secrets"}}
		}},
		{"an init container that mounts the socket", "mounts a volume of warder", put("initContainers", l{m{"name": "x", "image": "x:1", "volumeMounts": l{m{"name": "warder-socket", "mountPath": "/s"}}}})},
		{"a port named http", `has a port named "admin" or "http"`, func(pod map[string]any) { app(pod)["ports"] = l{m{"name": "http", "containerPort": 8080}} }},
		{"the port of Envoy", "or port 9192 or 8000", func(pod map[string]any) { app(pod)["ports"] = l{m{"containerPort": 8000}} }},
		{"hostNetwork", "with hostNetwork", put("hostNetwork", true)},
		{"another value", `label warder.dev/inject is "yes"`, label("yes")},
		{"an empty value", `label warder.dev/inject is ""`, label("")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := examplePod(t, tt.edit)
			after, refused, err := a.admit(before)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != "" {
				if !strings.Contains(refused, tt.want) {
					t.Errorf("refused: %q, want %q", refused, tt.want)
				}
				return
			}
			if refused != "" {
				t.Fatalf("refused: %s", refused)
			}
			was, is := into[podSpec](before["spec"]), into[podSpec](after["spec"])
			if diff := cmp.Diff(was.InitContainers, is.InitContainers[2:]); diff != "" && len(was.InitContainers) > 0 {
				t.Errorf("its own init containers are others now (-before +after):\n%s", diff)
			}
			if got, want := is.InitContainers[:2], into[podSpec](made["spec"]).InitContainers; !cmp.Equal(got, want) {
				t.Errorf("other sidecars (-want +got):\n%s", cmp.Diff(want, got))
			}
			if diff := cmp.Diff(was.Volumes, is.Volumes[:len(was.Volumes)]); diff != "" && len(was.Volumes) > 0 {
				t.Errorf("its own volumes are others now (-before +after):\n%s", diff)
			}
			own, _ := dig(before, "spec", "securityContext").(map[string]any)
			got := dig(after, "spec", "securityContext").(map[string]any)
			for name, value := range own {
				if diff := cmp.Diff(value, got[name]); diff != "" {
					t.Errorf("securityContext.%s (-before +after):\n%s", name, diff)
				}
			}
			for _, name := range []string{"runAsNonRoot", "fsGroup", "seccompProfile"} {
				if got[name] == nil {
					t.Errorf("securityContext has no %s: %v", name, got)
				}
			}
			if diff := cmp.Diff(dig(before, "spec", "containers"), dig(after, "spec", "containers")); diff != "" {
				t.Errorf("the application has changed:\n%s", diff)
			}
		})
	}
	t.Run("the policy is gone", func(t *testing.T) {
		t.Parallel()
		refused, err := a.refusal(a.pods, examplePod(t, nil))
		if err != nil || !strings.Contains(refused, `no init container "warder"`) {
			t.Errorf("%q, %v", refused, err)
		}
	})
	t.Run("false", func(t *testing.T) {
		t.Parallel()
		before := examplePod(t, label("false"))
		after, refused, err := a.admit(before)
		if err != nil || refused != "" || !cmp.Equal(before, after) {
			t.Errorf("%q, %v, %s", refused, err, cmp.Diff(before, after))
		}
	})
}

// TestInjectLabelOfTemplate checks that a workload whose own label is not that of its pods is
// refused: it would run without warder.
func TestInjectLabelOfTemplate(t *testing.T) {
	t.Parallel()
	a := newAdmission(t)
	labels := func(value string) map[string]any { return map[string]any{injectLabel: value} }
	for _, tt := range []struct {
		name     string
		refused  bool
		template any
	}{
		{"both", false, labels("true")},
		{"another value", true, labels("false")},
		{"other labels", true, map[string]any{"app": "app"}},
		{"no labels", true, nil},
	} {
		metadata := map[string]any{}
		if tt.template != nil {
			metadata["labels"] = tt.template
		}
		refused, err := a.refusal(a.templates, map[string]any{
			"metadata": map[string]any{"labels": labels("true")}, "spec": map[string]any{"template": map[string]any{"metadata": metadata}},
		})
		if err != nil || (refused != "") != tt.refused {
			t.Errorf("%s: %q, %v", tt.name, refused, err)
		}
	}
}
