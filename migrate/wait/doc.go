// Package wait waits until a context ends: [For] is the one sleep that a cancelled context ends, and [Within] the call
// of what may hang.
package wait
