// Package attribute owns what attributes of a principal are: texts by name, such as the tenant and
// the email address of a user. It owns the grammar of their names and values, and the rule for a
// value that cannot be used.
//
// Package token reads attributes from claims, the stores from rows, package condition evaluates
// them, and package envoy sends them to the upstream. It never logs a value, and it knows no
// claims, rows or headers.
package attribute
