// Package styletest holds the rules of style that a program can check, and the test
// that holds the whole module to them. Run it with `go test ./lab/styletest`.
//
// Each rule is a pure function from parsed files or from a listing of names
// to the sentences about what is wrong with it. The rules are tested with texts
// that keep them and texts that break them, so that each has been seen to fail.
// Nothing is built: files are only parsed, and so no build tag and no C library
// matters.
//
// A finding reads "path:line: what is wrong; what to do".
package styletest
