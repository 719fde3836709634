// Package bridgetest lays out bridges and the devices on them, for tests, in a network namespace that nobody else sees.
//
// Start with [New]. All is done with the real kernel, as root; what a test makes ends with it.
package bridgetest
