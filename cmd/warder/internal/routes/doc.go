// Package routes describes who may pass: it turns a compiled policy into rows for programs,
// and describes each route in words for people.
//
// It implements the command warder routes. Explain and diff use its descriptions, so that
// all commands describe a route in the same words. It decides no request and knows no
// credential.
package routes
