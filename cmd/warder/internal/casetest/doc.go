// Package casetest implements the command warder test: it runs files of cases through the
// engine and the answer of the service, and reports the results as text, JSON or JUnit.
//
// Package policytest defines what a file may hold and compares answers with what a case
// wants. Package explain says why a case failed. Casetest uses only stores in memory, with
// the data of the file.
package casetest
