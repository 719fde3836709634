// Package socket makes the Unix socket at which a daemon of this node listens.
package socket
