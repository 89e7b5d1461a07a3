package condition

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// maxParts bounds the number of texts that split returns and join accepts.
const maxParts = 256

var (
	errTextLong = fmt.Errorf("a text would be longer than %d bytes", maxText)
	errParts    = fmt.Errorf("a list of texts would have more than %d of them", maxParts)
	errNumber   = errors.New("a text is not a finite number")
)

// textFunctions are the functions of cel-go for texts, some of them with implementations of
// this package. The cost of a call is counted after it, so that functions whose result can
// be much larger than their arguments are bounded before: otherwise two long texts of a
// client could take all memory.
func textFunctions() []cel.EnvOption {
	texts := cel.ListType(cel.StringType)
	return []cel.EnvOption{
		ext.Strings(ext.StringsVersion(5)), // the first one that counts their cost
		cel.Function("replace",
			cel.MemberOverload("string_replace_string_string", []*cel.Type{cel.StringType, cel.StringType, cel.StringType}, cel.StringType, cel.FunctionBinding(replaceText)),
			cel.MemberOverload("string_replace_string_string_int", []*cel.Type{cel.StringType, cel.StringType, cel.StringType, cel.IntType}, cel.StringType, cel.FunctionBinding(replaceText))),
		cel.Function("split",
			cel.MemberOverload("string_split_string", []*cel.Type{cel.StringType, cel.StringType}, texts, cel.BinaryBinding(func(s, by ref.Val) ref.Val { return splitText(s, by) })),
			cel.MemberOverload("string_split_string_int", []*cel.Type{cel.StringType, cel.StringType, cel.IntType}, texts, cel.FunctionBinding(splitText))),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{texts}, cel.StringType, cel.UnaryBinding(func(list ref.Val) ref.Val { return joinTexts(list, types.String("")) })),
			cel.MemberOverload("list_join_string", []*cel.Type{texts, cel.StringType}, cel.StringType, cel.BinaryBinding(joinTexts))),
		cel.Function("double",
			cel.Overload("string_to_double", []*cel.Type{cel.StringType}, cel.DoubleType, cel.UnaryBinding(finiteNumber))),
	}
}

// notOffered are functions of cel-go that conditions must not call.
var notOffered = []string{"format", "reverse", "strings.quote"}

// countOf returns the argument that limits a number of parts, or -1 for no limit if there is
// no such argument.
func countOf(args []ref.Val, at int) int {
	if len(args) <= at {
		return -1
	}
	n, _ := args[at].(types.Int)
	return int(max(-1, min(n, math.MaxInt32)))
}

func textOf(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

func replaceText(args ...ref.Val) ref.Val {
	text, before, after := textOf(args[0]), textOf(args[1]), textOf(args[2])
	limit := countOf(args, 3)
	n := strings.Count(text, before) // an empty text is found at each character, and at the end
	if limit >= 0 {
		n = min(n, limit)
	}
	if len(text)+n*(len(after)-len(before)) > maxText {
		return types.WrapErr(errTextLong)
	}
	return types.String(strings.Replace(text, before, after, limit))
}

func splitText(args ...ref.Val) ref.Val {
	text, by := textOf(args[0]), textOf(args[1])
	limit := countOf(args, 2)
	n := strings.Count(text, by) + 1
	if by == "" {
		n = utf8.RuneCountInString(text)
	}
	if limit >= 0 {
		n = min(n, limit)
	}
	if n > maxParts {
		return types.WrapErr(errParts)
	}
	return types.NewStringList(types.DefaultTypeAdapter, strings.SplitN(text, by, limit))
}

func joinTexts(list, between ref.Val) ref.Val {
	l, ok := list.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(list)
	}
	if n, ok := l.Size().(types.Int); !ok || n > maxParts {
		return types.WrapErr(errParts)
	}
	var b strings.Builder
	for it := l.Iterator(); it.HasNext() == types.True; {
		item := it.Next()
		text, ok := item.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(item)
		}
		if b.Len()+len(text)+len(textOf(between)) > maxText {
			return types.WrapErr(errTextLong)
		}
		if b.WriteString(string(text)); it.HasNext() == types.True {
			b.WriteString(textOf(between))
		}
	}
	return types.String(b.String())
}

// finiteNumber implements double for texts. It refuses NaN, which a client could send and for
// which !(double(request.query.amount) > 100.0) is true.
func finiteNumber(text ref.Val) ref.Val {
	number, ok := text.ConvertToType(types.DoubleType).(types.Double)
	if !ok || math.IsNaN(float64(number)) || math.IsInf(float64(number), 0) {
		return types.WrapErr(errNumber)
	}
	return number
}
