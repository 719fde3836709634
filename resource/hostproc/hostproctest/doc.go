// Package hostproctest makes proc file systems of plain files, for tests of what judges processes. Start with
// [Process.Write].
package hostproctest
