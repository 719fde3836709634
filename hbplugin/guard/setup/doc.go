// Package setup is what "vmferry guard" decides: whether a lease device may be written, and whether the times and the
// configuration can hold what they promise.
package setup
