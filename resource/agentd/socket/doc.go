// Package socket makes the Unix socket at which a daemon of this node listens, and answers there: one request and one
// reply, each a line of JSON, of root's or this user's processes alone. Start with [Listen], [Serve] and [Ask].
package socket
