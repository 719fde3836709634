// Package control is how programs of this node talk to its guard: one request and one reply, each a line of JSON, over
// a Unix socket that root alone may use.
package control
