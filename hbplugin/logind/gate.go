package logind

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	// fixedHeader is the length of what each message begins with, up to and with the length of the header fields
	// (D-Bus specification, "Message Format").
	fixedHeader = 16
	// maxHeader bounds the header fields of a message that is heard. The bus's and systemd's take some 200 bytes.
	maxHeader = 16 << 10
	// maxBody bounds the body of one. The longest answer is logind's list of locks, of which each user may add some.
	maxBody = 16 << 20
)

// errMessage says that the bus itself, or whom we trust, sent what is no message of theirs.
var errMessage = errors.New("malformed D-Bus message")

// gate is a connection to a message bus on which only the bus itself and one other sender are heard. Any local user may
// send what he likes to any connection, as often and as long (up to 128 MiB) as he likes: signals, calls, replies, file
// descriptors. What he sends is discarded unread, before memory, a goroutine or a descriptor is spent on it. The sender
// of a message is what the bus says, not what its author says (D-Bus specification, header field SENDER).
//
// It passes bytes through until the client writes BEGIN, and whole messages from then on.
type gate struct {
	*net.UnixConn
	fds bool // ask the bus for the right to receive file descriptors

	peer    atomic.Pointer[string] // the unique name of the one that is heard; nil and "" are nobody
	refused func(sender string)    // is told of the first message that was discarded; may be nil
	once    sync.Once
	finish  sync.Once

	begun bool
	ended chan struct{} // closed when nothing is read any more
	in    io.Reader
	queue []int  // descriptors that came with the message that is being read
	taken []int  // those of messages that were heard
	rest  []byte // of the message that is being read
}

// trust makes a unique name the one that is heard.
func (g *gate) trust(name string) { g.peer.Store(&name) }

// trusts reports whether a sender is heard.
func (g *gate) trusts(sender string) bool {
	if sender == busName {
		return true
	}
	peer := g.peer.Load()
	return peer != nil && sender != "" && sender == *peer
}

// Write implements io.Writer. The last line of the authentication is where messages begin.
func (g *gate) Write(p []byte) (int, error) {
	if g.begun || string(p) != "BEGIN\r\n" {
		return g.UnixConn.Write(p)
	}
	if g.fds {
		if err := g.negotiate(); err != nil {
			return 0, err
		}
	}
	n, err := g.UnixConn.Write(p)
	if err != nil {
		return n, err // nobody will read
	}
	// Not a byte is read beyond the message at hand where descriptors come: the kernel hands them out with the first
	// byte that they were sent with, and what a message says of their number is its author's word.
	g.begun, g.ended, g.in = true, make(chan struct{}), received{g}
	if !g.fds {
		g.in = bufio.NewReader(g.UnixConn)
	}
	return n, nil
}

// negotiate asks for file descriptors (D-Bus specification, NEGOTIATE_UNIX_FD).
func (g *gate) negotiate() error {
	if _, err := io.WriteString(g.UnixConn, "NEGOTIATE_UNIX_FD\r\n"); err != nil {
		return err
	}
	const agree = "AGREE_UNIX_FD\r\n"
	answer := make([]byte, len(agree))
	if _, err := io.ReadFull(g.UnixConn, answer); err != nil {
		return err
	}
	if string(answer) != agree {
		return fmt.Errorf("the system bus passes no file descriptors: %q", answer)
	}
	return nil
}

// received reads from the socket, and queues the descriptors that come with the bytes.
type received struct{ *gate }

func (r received) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(253*4)) // SCM_MAX_FD
	n, oobn, _, _, err := r.ReadMsgUnix(p, oob)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return n, err
		}
		r.queue = append(r.queue, fds...)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Read implements io.Reader.
func (g *gate) Read(p []byte) (int, error) {
	if !g.begun {
		return g.UnixConn.Read(p)
	}
	for len(g.rest) == 0 {
		if err := g.next(); err != nil {
			g.finish.Do(func() { close(g.ended) })
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads one message, and keeps it if its sender is heard.
func (g *gate) next() error {
	fixed := make([]byte, fixedHeader)
	if _, err := io.ReadFull(g.in, fixed); err != nil {
		return err
	}
	f, err := parseFrame(fixed)
	if err != nil {
		return err
	}
	var fields []byte
	var sender string
	if f.fields <= maxHeader {
		fields = make([]byte, f.fields)
		if _, err := io.ReadFull(g.in, fields); err != nil {
			return err
		}
		f.fields = 0
		sender = parseFields(f.order, fields)
	}
	if f.kind == dbus.TypeMethodCall || !g.trusts(sender) {
		err = skip(g.in, f.fields+f.body)
		g.discard(sender)
		return err
	}
	if f.body > maxBody {
		return fmt.Errorf("%w: %d bytes from %q", errMessage, f.body, sender)
	}
	message := make([]byte, fixedHeader+len(fields)+int(f.body))
	copy(message[copy(message, fixed):], fields)
	if _, err := io.ReadFull(g.in, message[fixedHeader+len(fields):]); err != nil {
		return err
	}
	g.rest, g.taken, g.queue = message, append(g.taken, g.queue...), nil
	return nil
}

// discard drops the message that was read.
func (g *gate) discard(sender string) {
	shut(g.queue)
	g.queue = nil
	g.once.Do(func() {
		if g.refused != nil {
			g.refused(sender)
		}
	})
}

func shut(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // nothing was written to it
	}
}

func skip(in io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, in, n)
	return err
}

// frame is what a message's first 16 bytes say.
type frame struct {
	order        binary.ByteOrder
	kind         dbus.Type
	fields, body int64 // lengths in bytes; fields with its padding
}

func parseFrame(b []byte) (frame, error) {
	var f frame
	switch b[0] {
	case 'l':
		f.order = binary.LittleEndian
	case 'B':
		f.order = binary.BigEndian
	default:
		return f, fmt.Errorf("%w: byte order %q", errMessage, b[0])
	}
	f.kind = dbus.Type(b[1])
	f.body = int64(f.order.Uint32(b[4:]))
	f.fields = (int64(f.order.Uint32(b[12:])) + 7) &^ 7
	return f, nil
}

// parseFields reads an array of (BYTE, VARIANT) with the types that the specification's fields have, and returns the
// sender. What it does not understand has none.
func parseFields(order binary.ByteOrder, b []byte) (sender string) {
	for at := 0; at < len(b); {
		at = (at + 7) &^ 7
		if at+4 > len(b) {
			break // the padding after the last one
		}
		code, size, kind, end := dbus.HeaderField(b[at]), b[at+1], b[at+2], b[at+3]
		if size != 1 || end != 0 {
			return "" // some other header field, or the padding
		}
		at += 4
		var value []byte
		if value, at = fieldValue(order, b, at, kind); value == nil {
			return ""
		}
		switch {
		case code == dbus.FieldSender && kind == 's' && sender == "":
			sender = string(value)
		case code == dbus.FieldSender:
			return ""
		}
	}
	return sender
}

// fieldValue is the value that begins at a position, and the position after it; nil where it is none.
func fieldValue(order binary.ByteOrder, b []byte, at int, kind byte) ([]byte, int) {
	var size, extra int
	switch kind {
	case 'u':
		size = 4
	case 's', 'o':
		if at+4 > len(b) {
			return nil, at
		}
		size, extra, at = int(order.Uint32(b[at:])), 1, at+4
	case 'g':
		if at+1 > len(b) {
			return nil, at
		}
		size, extra, at = int(b[at]), 1, at+1
	default:
		return nil, at
	}
	if size > len(b)-at-extra || size < 0 {
		return nil, at
	}
	return b[at : at+size : at+size], at + size + extra
}
