// Package casetest is the command warder test: it runs files of cases through the engine
// and the answer of the service, and reports them as text, JSON or JUnit.
//
// What a file may hold and what is wrong with an answer is for package policytest to say,
// and why a case failed for package explain. It asks no store but those in memory that a
// file fills.
package casetest
