// Package openapi reads OpenAPI documents as a route policy sees them: operations with
// paths in the policy's own notation, and the credentials that they ask for.
//
// It is the command warder import, which writes a policy skeleton, and diff compares a
// policy with a document that is read here. It follows no reference to another document,
// and no skeleton lets anybody in whom the document does not name.
package openapi
