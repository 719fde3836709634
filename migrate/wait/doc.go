// Package wait waits for a time to pass, or for a context to end: [For] is the
// one sleep that a cancelled context ends.
package wait
