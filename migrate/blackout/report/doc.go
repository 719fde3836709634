// Package report is what a run measured: the [Report], its JSON form, which
// other programs read, and a text table for people. Field names, their order and
// the layout of the table stay as they are; what they mean is in package
// blackout. It knows nothing of how a run measures.
package report
