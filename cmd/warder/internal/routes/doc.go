// Package routes says who may pass: a compiled policy as rows for programs, and each
// route in words for people.
//
// It is the command warder routes, and explain and diff take their words from it, so
// that a route is described everywhere alike. It decides no request and knows no
// credential.
package routes
