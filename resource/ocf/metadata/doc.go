// Package metadata is the table of the resource agent's parameters and actions: one record each, from which come the
// meta-data for the cluster manager ([XML]), the default values and the checks of what an operator sets (package
// param), and the test of the manual page ocf_vmferry_Domain(7).
//
// A new parameter is a record in table.go and its text in parameters.txt, a field of param.Params with the line that
// reads it, and a paragraph in the manual page. Tests fail for what is missing.
//
// The package imports next to nothing, as each monitor pays for it; see package ocf.
package metadata
