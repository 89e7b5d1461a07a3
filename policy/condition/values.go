package condition

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"warder/policy/pattern"
)

// An evaluation is one check of a condition. It parses the query and the claims at most once,
// and only if the expression reads them.
type evaluation struct {
	condition *Condition
	in        *Input

	query  *queryTexts
	claims traits.Mapper
}

// ResolveName implements cel.Activation.
func (e *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "request":
		return object{e, requestType}, true
	case "principal":
		return object{e, principalType}, true
	case "params":
		params, err := e.condition.params(e.in.Path)
		if err != nil {
			return types.WrapErr(err), true
		}
		return textMap{params}, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (*evaluation) Parent() cel.Activation { return nil }

// A field is one field of request or principal.
type field struct {
	name string
	typ  *cel.Type
	// get returns the value, which has the declared type, or nil if it is absent.
	get func(*evaluation) (ref.Val, error)
}

// requestFields are the fields of request, in the order in which messages list them.
var requestFields = []field{
	{"method", cel.StringType, func(e *evaluation) (ref.Val, error) { return textOr(e.in.Method), nil }},
	{"host", cel.StringType, func(e *evaluation) (ref.Val, error) {
		var buf [pattern.MaxHost]byte
		name, _ := pattern.CanonicalHost(e.in.Host, &buf)
		return textOr(string(name)), nil
	}},
	{"path", cel.StringType, func(e *evaluation) (ref.Val, error) {
		if e.in.Path.Raw() == "" || len(e.in.Path.Raw()) > maxText {
			return nil, nil
		}
		return types.String(e.in.Path.Canonical()), nil
	}},
	{"query", textMapType, func(e *evaluation) (ref.Val, error) { return e.queryMap() }},
	{"headers", textMapType, func(e *evaluation) (ref.Val, error) { return e.fieldMap() }},
	{"client_ip", cel.StringType, func(e *evaluation) (ref.Val, error) {
		if !e.in.ClientIP.IsValid() {
			return nil, nil
		}
		return types.String(e.in.ClientIP.String()), nil
	}},
	{"time", cel.TimestampType, func(e *evaluation) (ref.Val, error) { return types.Timestamp{Time: e.in.Time.UTC()}, nil }},
}

// principalFields are the fields of principal.
var principalFields = []field{
	{"user", cel.StringType, func(e *evaluation) (ref.Val, error) { return textOr(e.in.User), nil }},
	{"roles", textsType, func(e *evaluation) (ref.Val, error) {
		return types.NewStringList(types.DefaultTypeAdapter, e.in.Roles), nil
	}},
	{"scopes", textsType, func(e *evaluation) (ref.Val, error) {
		return types.NewStringList(types.DefaultTypeAdapter, e.in.Scopes), nil
	}},
	{"method", cel.StringType, func(e *evaluation) (ref.Val, error) { return textOr(e.in.AuthMethod), nil }},
	{"attributes", textMapType, func(e *evaluation) (ref.Val, error) { return textMap{attributeTexts{e.in.Attributes}}, nil }},
	{"claims", cel.MapType(cel.StringType, cel.DynType), func(e *evaluation) (ref.Val, error) { return e.claimMap() }},
}

var (
	textMapType = cel.MapType(cel.StringType, cel.StringType)
	textsType   = cel.ListType(cel.StringType)
)

// textOr returns a text, or nil for the empty one, which is absent.
func textOr(s string) ref.Val {
	if s == "" {
		return nil
	}
	return types.String(s)
}

// The types of the two objects that an expression can read.
var (
	requestType   = newObjectType("request", requestFields)
	principalType = newObjectType("principal", principalFields)
)

// An objectType is the type of request or principal. It implements
// types.StructTypeDescriptor, so that the type checker of cel-go knows its fields.
type objectType struct {
	*types.Type
	name   string
	fields []field
}

func newObjectType(name string, fields []field) *objectType {
	return &objectType{types.NewObjectType("warder." + name), name, fields}
}

// ReflectType implements types.StructTypeDescriptor. There is no Go type for it.
func (*objectType) ReflectType() reflect.Type { return nil }

// FieldNames implements types.StructTypeDescriptor.
func (t *objectType) FieldNames() []string {
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = f.name
	}
	return names
}

// FindFieldType implements types.StructTypeDescriptor.
func (t *objectType) FindFieldType(name string) (*types.FieldType, bool) {
	i := slices.IndexFunc(t.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil, false
	}
	f := t.fields[i]
	return &types.FieldType{
		Type: f.typ,
		IsSet: func(target any) bool {
			e, ok := target.(*evaluation)
			if !ok {
				return false
			}
			v, err := f.get(e)
			return err == nil && v != nil
		},
		GetFrom: func(target any) (any, error) {
			e, ok := target.(*evaluation)
			if !ok {
				return nil, fmt.Errorf("%s has no %s", t.name, f.name)
			}
			v, err := f.get(e)
			if err == nil && v == nil {
				err = fmt.Errorf("%s.%s is absent", t.name, f.name)
			}
			return v, err
		},
	}, true
}

// NewValue implements types.StructTypeDescriptor. An expression cannot create a request.
func (t *objectType) NewValue(types.Adapter, map[string]ref.Val) ref.Val {
	return types.NewErr("%s cannot be created", t.name)
}

// Adapt implements types.StructTypeDescriptor.
func (t *objectType) Adapt(types.Adapter, any) ref.Val {
	return types.NewErr("%s cannot be created", t.name)
}

// An object is the value of request or principal in one evaluation.
type object struct {
	evaluation *evaluation
	typ        *objectType
}

// ConvertToNative implements ref.Val. Nothing calls it.
func (o object) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s is not a value", o.typ.name)
}

// ConvertToType implements ref.Val.
func (o object) ConvertToType(ref.Type) ref.Val {
	return types.NewErr("%s is not a value", o.typ.name)
}

// Equal implements ref.Val.
func (o object) Equal(ref.Val) ref.Val { return types.NewErr("%s is not a value", o.typ.name) }

// Type implements ref.Val.
func (o object) Type() ref.Type { return o.typ.Type }

// Value implements ref.Val. The fields are read from it.
func (o object) Value() any { return o.evaluation }

// namedTexts are texts by name. To find a name that has no single value is an error.
type namedTexts interface {
	find(name string) (value string, found bool, err error)
	names() []string
	count() int
}

// A textMap is the value of params, request.query, request.headers or principal.attributes: a map
// in which reading an ambiguous name, or one with an unreadable value, is an error, also with in
// and has.
type textMap struct {
	namedTexts
}

// Find implements traits.Mapper.
func (m textMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	value, found, err := m.find(string(name))
	switch {
	case err != nil:
		return types.WrapErr(err), false
	case !found:
		return nil, false
	}
	return types.String(value), true
}

// Get implements traits.Indexer.
func (m textMap) Get(key ref.Val) ref.Val {
	value, found := m.Find(key)
	if value == nil && !found {
		return types.NewErr("no such key: %v", key)
	}
	return value
}

// Contains implements traits.Container.
func (m textMap) Contains(key ref.Val) ref.Val {
	value, found := m.Find(key)
	if value != nil && !found {
		return value // an error
	}
	return types.Bool(found)
}

// Iterator implements traits.Iterable. It iterates over the names.
func (m textMap) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, m.names()).Iterator()
}

// Size implements traits.Sizer. cel-go also uses it to count the cost of a check.
func (m textMap) Size() ref.Val { return types.Int(m.count()) }

// ConvertToNative implements ref.Val. Nothing calls it.
func (m textMap) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("names are read one by one")
}

// ConvertToType implements ref.Val.
func (m textMap) ConvertToType(ref.Type) ref.Val { return types.NewErr("names are read one by one") }

// Equal implements ref.Val.
func (m textMap) Equal(ref.Val) ref.Val { return types.NewErr("names are read one by one") }

// Type implements ref.Val.
func (m textMap) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (m textMap) Value() any { return m }

// sortedNames returns the keys of a set in one order for all evaluations.
func sortedNames(set map[string]struct{}) []string { return slices.Sorted(maps.Keys(set)) }
