// Package shellword writes names as words of a POSIX shell, so that a command that a message tells to type can be
// pasted. Nothing here starts a shell. Start with [Line].
package shellword
