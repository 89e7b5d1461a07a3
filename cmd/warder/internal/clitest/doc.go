// Package clitest holds helpers that the tests of the command and its packages share: files
// and folders, an environment, the pages of documentation, certificates.
//
// Only tests import it. It imports no other package of the command, so that any of
// them can use it.
package clitest
