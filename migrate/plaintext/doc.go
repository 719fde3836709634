// Package plaintext makes text safe to print. Names, descriptions and messages come from guests, libvirt, peers and
// clients, and end up on an operator's terminal, in an exit reason and in a log: a control character there moves the
// cursor, a bidirectional control turns the line round, and a line break forges a line. Use it where text leaves a
// program: [Line] where one line is expected, [Writer] for all that a program prints.
package plaintext
