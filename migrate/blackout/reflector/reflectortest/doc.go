// Package reflectortest starts reflectors in tests.
package reflectortest
