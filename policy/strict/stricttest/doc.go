// Package stricttest holds what the tests of the schemas share. The policy and the configuration
// each have a JSON Schema that is generated from the types that package strict reads into. Their
// tests generate it, compile it and hold it against files.
//
// Only tests import it. It knows no key of any file.
package stricttest
