package policy

import (
	"net/netip"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"warder/policy/strict"
)

// addresses looks at what the client's address is compared with: a network, or an address
// in another spelling, is never equal to it, and != of it is true for everybody.
func (r *conditionReader) addresses(c ast.CallExpr, bound []string) {
	args := c.Args()
	if len(args) != 2 {
		return
	}
	switch c.FunctionName() {
	case operators.Equals, operators.NotEquals:
		for i, arg := range args {
			if isClientIP(arg, bound) {
				r.address(args[1-i])
			}
		}
	case operators.In:
		if isClientIP(args[0], bound) && args[1].Kind() == ast.ListKind {
			for _, item := range args[1].AsList().Elements() {
				r.address(item)
			}
		}
	}
}

func isClientIP(e ast.Expr, bound []string) bool {
	return e.Kind() == ast.SelectKind && objectOf(e.AsSelect().Operand(), bound) == requestType && e.AsSelect().FieldName() == "client_ip"
}

// address refuses a text that no address is written like.
func (r *conditionReader) address(e ast.Expr) {
	if !isText(e) {
		return
	}
	text := string(e.AsLiteral().(types.String))
	if strings.Contains(text, "/") {
		r.fail(r.start(e), `%s is no address, so that it is never the client's; write cidr(%s).containsIP(request.client_ip)`, strict.Quote(text), strict.Quote(text))
		return
	}
	switch addr, err := netip.ParseAddr(text); {
	case err != nil:
		r.fail(r.start(e), `%s is no address, so that it is never the client's; write one such as "203.0.113.9"`, strict.Quote(text))
	case addr.Unmap().WithZone("").String() != text:
		r.fail(r.start(e), "%s is not how the client's address is written; write %s", strict.Quote(text), strict.Quote(addr.Unmap().WithZone("").String()))
	}
}
