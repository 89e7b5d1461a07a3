package condition

import (
	"net/netip"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"warder/policy/strict"
)

// addresses checks what the client's address is compared with. A network, or an address in
// another spelling, is never equal to it, and != would be true for every client.
func (c *checker) addresses(call ast.CallExpr, bound []string) {
	args := call.Args()
	if len(args) != 2 {
		return
	}
	switch call.FunctionName() {
	case operators.Equals, operators.NotEquals:
		for i, arg := range args {
			if isClientIP(arg, bound) {
				c.address(args[1-i])
			}
		}
	case operators.In:
		if isClientIP(args[0], bound) && args[1].Kind() == ast.ListKind {
			for _, item := range args[1].AsList().Elements() {
				c.address(item)
			}
		}
	}
}

func isClientIP(e ast.Expr, bound []string) bool {
	return e.Kind() == ast.SelectKind && objectOf(e.AsSelect().Operand(), bound) == requestType && e.AsSelect().FieldName() == "client_ip"
}

// address reports a text that is not an address in its canonical form.
func (c *checker) address(e ast.Expr) {
	if !isText(e) {
		return
	}
	text := string(e.AsLiteral().(types.String))
	if strings.Contains(text, "/") {
		c.fail(c.start(e), `%s is not an address, so that it never equals the client's; write cidr(%s).containsIP(request.client_ip)`, strict.Quote(text), strict.Quote(text))
		return
	}
	switch addr, err := netip.ParseAddr(text); {
	case err != nil:
		c.fail(c.start(e), `%s is not an address, so that it never equals the client's; write one such as "203.0.113.9"`, strict.Quote(text))
	case addr.Unmap().WithZone("").String() != text:
		c.fail(c.start(e), "%s is not the form in which the client's address is compared; write %s", strict.Quote(text), strict.Quote(addr.Unmap().WithZone("").String()))
	}
}
