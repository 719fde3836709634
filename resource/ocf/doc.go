// Package ocf is the resource agent's contract with whoever calls it: exit codes, the error
// that carries one, the meta-data, and the answers that need no look at any guest.
//
// Start with [Plain], which answers those, and [Error]. The package imports next to
// nothing, so that the program which a cluster manager executes every few seconds starts at
// once; what is decided about a guest is in package resource.
//
// Source: the OCF resource agent API 1.1.
package ocf
