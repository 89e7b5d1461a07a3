package policytest

import (
	"github.com/goccy/go-yaml/ast"

	"warder/policy"
)

// aliases puts what an anchor (&name) names in the place of each alias (*name), so that
// cases can share what they have in common. An anchored value holds no alias: what a few
// lines stand for stays small.
type aliases struct {
	r        *reader
	anchors  map[string]ast.Node
	anchored bool // what is walked stands below an anchor
}

func (a *aliases) resolve(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		outer := a.anchored
		a.anchored = true
		value := a.resolve(n.Value)
		a.anchored = outer
		a.anchors[n.Name.GetToken().Value] = value
		return value
	case *ast.AliasNode:
		value, known := a.anchors[n.Value.GetToken().Value]
		switch {
		case a.anchored:
			a.report(n, "an alias below an anchor is not read; write the value out")
		case !known:
			a.report(n, "no anchor of that name stands before it; write &"+n.Value.GetToken().Value+" before a value above")
		default:
			return value
		}
		return ast.Null(n.GetToken())
	case *ast.MappingNode:
		for _, v := range n.Values {
			v.Value = a.resolve(v.Value)
		}
	case *ast.MappingValueNode:
		n.Value = a.resolve(n.Value)
	case *ast.SequenceNode:
		for i, item := range n.Values {
			n.Values[i] = a.resolve(item)
		}
	}
	return n
}

func (a *aliases) report(n ast.Node, message string) {
	a.r.problems = append(a.r.problems, policy.Problem{Position: a.r.at(n), Message: message})
}
