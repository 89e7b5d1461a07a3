// Package strict reads the YAML files that people write for warder: policies,
// warder.yaml, directories and policy tests.
//
// It owns the subset of YAML that they share, the places of values, and the problems of a
// file: all of them at once, each as file:line:column with what would be right. [Parse]
// turns a text into values, and a [Reader] turns values into Go values, by the tags of
// their types. What YAML readers forgive or disagree about is refused: a second document, a
// key that stands twice, aliases, tags, merge keys, a colon without a space, tabs in
// words, control characters, numbers and truth values with several spellings.
//
// It knows no key of any file, and it opens no file.
package strict
