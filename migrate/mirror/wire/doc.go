// Package wire is what a source and a replica of the mirror say to each other. Start with [Conn].
//
//	source:  Hello, then any number of:  Round, Data …, Commit   or  Close  or  Take
//	replica: State                       Ready          Done         Done     Done     or at any time Refused, and the end
//
// A message is three numbers of four bytes, big-endian: its type and the lengths of a text and a payload; then these.
package wire
