// Package openapi reads OpenAPI and Swagger documents as a route policy sees them: operations
// with paths in the policy's own notation, and the credentials that they ask for. It reads
// only that, so that mistakes elsewhere in a document do not matter.
//
// It implements the command warder import, which writes a policy skeleton. Package diff uses
// it to compare a policy with a document. It follows no reference to another document, and no
// skeleton allows anybody whom the document does not name.
package openapi
