// Package wire is what the agent and the node daemon say to each other about a monitor.
//
// The agent connects to the daemon's unix socket, writes one [Request] and reads one
// [Answer], each one line of JSON of at most [MaxSize] bytes. A client that closes the
// connection calls its request off. Whatever goes wrong here is no answer: [Ask] returns an
// error, and the agent looks for itself.
//
// The client's side makes system calls directly and imports next to nothing, as it
// is all that a monitor has to start.
package wire
