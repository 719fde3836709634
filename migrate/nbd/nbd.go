package nbd

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// MaxPayload is the most bytes that one Read or Write may have: what each server takes.
const MaxPayload = 32 << 20

const (
	statusStep = 1 << 30     // what one request for extents, or of zeroes, covers at most
	maxStatus  = 4 + 1<<20   // bytes of an answer with extents; QEMU's has no more
	maxExtents = 1 << 20     // of one call of Extents
	maxReplies = 32          // to one option, and errors in one reply
	maxWords   = 8 << 10     // bytes of an error, or of a reply to an option
	closeWait  = time.Second // for a server that does not read
)

// The commands.
const read, write, leave, flush, zeroes, status = 0, 1, 2, 3, 6, 7

var names = [...]string{read: "read", write: "write", flush: "flush", zeroes: "zero", status: "ask for extents of"}

var be = binary.BigEndian

// Export is what a client opens.
type Export struct {
	Name    string // "" is the server's default
	Context string // what Extents asks for: "base:allocation" or "qemu:dirty-bitmap:NAME"; "" for nothing
}

// The flags of an Extent: of a dirty bitmap; and of base:allocation, where it takes up no space, or reads as zeroes.
const Dirty, Hole, Zero = 1, 1, 2

// Extent is a part of an export that is all of one kind.
type Extent struct {
	Offset, Length uint64 // in bytes
	Flags          uint32
}

// Client is a connection to an export. It makes one request at a time, and is for one goroutine at a time. A context
// that ends during a request closes the connection, as does a server that breaks the protocol, and all that follows
// fails. An error of the server's own has a [unix.Errno], such as ENOSPC, and leaves the connection.
type Client struct {
	conn    net.Conn
	r       *bufio.Reader
	size    uint64
	context uint32 // the server's number of the context
	cookie  uint64 // of the last request
	broken  error  // why the connection cannot be used any more
}

// Dial connects to a server at a Unix socket and opens an export.
func Dial(ctx context.Context, socket string, export Export) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the NBD server: %w", err)
	}
	return New(ctx, conn, export)
}

// New opens an export over a connection, which it closes where it fails.
func New(ctx context.Context, conn net.Conn, export Export) (*Client, error) {
	c := &Client{conn: conn, r: bufio.NewReader(conn)}
	if c.guard(ctx, func() { c.handshake(export) }); c.broken != nil {
		return nil, fmt.Errorf("open NBD export %q: %w", export.Name, c.broken)
	}
	return c, nil
}

func (c *Client) handshake(e Export) {
	hello := c.get(18, 18)
	c.check(string(hello[:16]) == "NBDMAGICIHAVEOPT" && hello[17]&1 != 0, "this is no NBD server of the fixed newstyle")
	c.put([]byte{0, 0, 0, 1})
	c.option(8, nil, 0) // structured replies
	name := append(be.AppendUint32(nil, uint32(len(e.Name))), e.Name...)
	if e.Context != "" {
		ask := be.AppendUint32(be.AppendUint32(name[:len(name):len(name)], 1), uint32(len(e.Context)))
		id := c.option(10, append(ask, e.Context...), 4+len(e.Context)) // set meta context
		c.context = be.Uint32(id)
		c.check(string(id[4:]) == e.Context, "the server does not have %q", e.Context)
	}
	info := c.option(7, append(name, 0, 0), 12) // go
	c.size = be.Uint64(info[2:])
	c.check(be.Uint16(info) == 0 && c.size > 0 && c.size <= math.MaxInt64, "the server does not tell its size")
}

// option sends an option, waits until the server acknowledges it, and returns what came before of so many bytes.
func (c *Client) option(option uint32, data []byte, bytes int) []byte {
	c.put(be.AppendUint32(be.AppendUint32([]byte("IHAVEOPT"), option), uint32(len(data))), data)
	answer := make([]byte, bytes)
	for range maxReplies {
		head := c.get(20, 20)
		typ, text := be.Uint32(head[12:]), c.get(be.Uint32(head[16:]), maxWords)
		c.check(be.Uint64(head) == 0x3e889045565a9 && be.Uint32(head[8:]) == option, "the server answers another option")
		c.check(typ < 1<<31, "the server refuses option %d: %q", option, text)
		switch {
		case c.broken != nil || typ == 1:
			return answer
		case len(text) == bytes:
			answer = text
		}
	}
	c.check(false, "the server does not acknowledge option %d", option)
	return answer
}

// Size is the size of the export, in bytes.
func (c *Client) Size() uint64 { return c.size }

// Read fills buf with what is at offset.
func (c *Client) Read(ctx context.Context, buf []byte, offset uint64) error {
	_, err := c.do(ctx, read, offset, uint64(len(buf)), buf)
	return err
}

// Write writes data at offset. It is durable after a Flush.
func (c *Client) Write(ctx context.Context, data []byte, offset uint64) error {
	_, err := c.do(ctx, write, offset, uint64(len(data)), data)
	return err
}

// WriteZeroes makes a range read as zeroes, and frees its space where the server can.
func (c *Client) WriteZeroes(ctx context.Context, offset, length uint64) (err error) {
	for n := uint64(0); length > 0 && err == nil; offset, length = offset+n, length-n {
		n = min(length, statusStep)
		_, err = c.do(ctx, zeroes, offset, n, nil)
	}
	return err
}

// Flush makes all that was written durable.
func (c *Client) Flush(ctx context.Context) error {
	_, err := c.do(ctx, flush, 0, 0, nil)
	return err
}

// Extents tells of which kind each part of a range is, in order and without gaps, by the context that the export was
// opened with; neighbours differ in their flags. More than a million of them are an error: ask for less at a time.
func (c *Client) Extents(ctx context.Context, offset, length uint64) (all []Extent, err error) {
	for left := length; left > 0; {
		raw, err := c.do(ctx, status, offset, min(left, statusStep), nil)
		for ; err == nil && len(raw) >= 8 && left > 0; raw = raw[8:] {
			n, flags, k := min(uint64(be.Uint32(raw)), left), be.Uint32(raw[4:]), len(all)-1
			switch {
			case n == 0 || k+1 >= maxExtents:
				err = fmt.Errorf("ask for extents at %d: NBD: one is empty, or they are more than %d", offset, maxExtents)
			case k >= 0 && all[k].Flags == flags:
				all[k].Length += n
			default:
				all = append(all, Extent{offset, n, flags})
			}
			offset, left = offset+n, left-n
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Close tells the server, and closes the connection. It waits a second at most.
func (c *Client) Close() error {
	if c.broken != nil {
		return nil
	}
	_ = c.conn.SetDeadline(time.Now().Add(closeWait))
	c.send(leave, 0, 0, nil) // no reply follows
	c.broken = net.ErrClosed
	return c.conn.Close()
}

// do makes a request that lies inside the export. data is what to write, or filled with what is read; raw is what a
// status has.
func (c *Client) do(ctx context.Context, command uint16, offset, length uint64, data []byte) (raw []byte, err error) {
	if len(data) > MaxPayload || offset > c.size || length > c.size-offset {
		err = fmt.Errorf("the export has %d bytes, and a request %d at most", c.size, MaxPayload)
	} else if c.broken == nil {
		c.guard(ctx, func() {
			c.send(command, offset, length, data)
			raw, err = c.receive(command, offset, data)
		})
	}
	if err = cmp.Or(c.broken, err); err != nil {
		return nil, fmt.Errorf("%s %d bytes at %d of an NBD export: %w", names[command], length, offset, err)
	}
	return raw, nil
}

// guard talks to the server in f. An error, or the end of the context, is the end of the connection.
func (c *Client) guard(ctx context.Context, f func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	f()
	if !stop() {
		c.broken = context.Cause(ctx)
	}
	if c.broken != nil {
		_ = c.conn.Close()
	}
}

func (c *Client) send(command uint16, offset, length uint64, data []byte) {
	c.cookie++
	head := be.AppendUint32(make([]byte, 0, 28), 0x25609513)
	head = be.AppendUint64(be.AppendUint32(head, uint32(command)), c.cookie) // no flags
	head = be.AppendUint32(be.AppendUint64(head, offset), uint32(length))
	if command != write {
		data = nil
	}
	c.put(head, data)
}

// receive reads the whole reply to a request, and checks that it is one. refused is the server's own error.
func (c *Client) receive(command uint16, offset uint64, data []byte) (extents []byte, refused error) {
	for range maxReplies + len(data) { // each chunk of data has a byte or more
		head := c.get(16, 16)
		c.check(be.Uint64(head[8:]) == c.cookie, "the server answers another request")
		if code := be.Uint32(head[4:]); be.Uint32(head) == 0x67446698 && command != read && command != status {
			if code != 0 {
				refused = unix.Errno(code)
			}
			return nil, refused
		}
		c.check(be.Uint32(head) == 0x668e33ef, "the server sends no structured reply")
		last, typ, length := head[5]&1 != 0, be.Uint16(head[6:]), be.Uint32(c.get(4, 4))
		switch {
		case typ >= 1<<15:
			refused = c.refusal(length)
		case typ == 0:
			c.get(length, 0)
		case command == read && (typ == 1 || typ == 2):
			n := c.fill(data, offset, length, typ == 2)
			data, offset = data[n:], offset+n
		case command == status && typ == 5 && extents == nil:
			extents = c.get(length, maxStatus)
			c.check(len(extents) >= 12 && be.Uint32(extents) == c.context, "the server sends no extents")
		default:
			c.check(false, "the server answers with a chunk of type %d", typ)
		}
		if c.broken != nil || last {
			whole := (command != read || len(data) == 0) && (command != status || len(extents) > 0)
			c.check(whole || refused != nil, "the server's answer is not whole")
			return extents[min(4, len(extents)):], refused
		}
	}
	c.check(false, "the server's answer does not end")
	return nil, nil
}

// fill reads a chunk of data, or a hole, which has to begin at offset: the protocol allows another order, and QEMU has
// this one.
func (c *Client) fill(data []byte, offset uint64, length uint32, hole bool) uint64 {
	at, size := be.Uint64(c.get(8, 8)), uint64(length)-8
	if hole {
		c.check(length == 12, "a hole has %d bytes", length)
		size = uint64(be.Uint32(c.get(4, 4)))
	}
	c.check(at == offset && size > 0 && size <= uint64(len(data)), "%d bytes come at %d, and %d are due at %d", size, at,
		len(data), offset)
	switch {
	case c.broken != nil:
		return 0
	case hole:
		clear(data[:size])
	default:
		_, c.broken = io.ReadFull(c.r, data[:size])
	}
	return size
}

// refusal reads the server's error.
func (c *Client) refusal(length uint32) error {
	raw := c.get(length, maxWords)
	if c.check(len(raw) >= 6 && be.Uint32(raw) != 0, "the server's error has no reason"); c.broken != nil {
		return c.broken
	}
	words := raw[6:min(6+int(be.Uint16(raw[4:])), len(raw))] // an offset may follow
	return fmt.Errorf("%w (%q)", unix.Errno(be.Uint32(raw)), words)
}

// get reads n bytes, which may be most at most; check notes why the connection is of no use any more, and put sends.
// After the first error they do nothing more.
func (c *Client) get(n, most uint32) []byte {
	c.check(n <= most, "the server sends %d bytes where %d are the most", n, most)
	raw := make([]byte, min(n, most))
	if c.broken == nil {
		_, c.broken = io.ReadFull(c.r, raw)
	}
	return raw
}

func (c *Client) check(ok bool, why string, args ...any) {
	if c.broken == nil && !ok {
		c.broken = fmt.Errorf(why, args...)
	}
}

func (c *Client) put(parts ...[]byte) {
	if c.broken == nil {
		_, c.broken = (*net.Buffers)(&parts).WriteTo(c.conn)
	}
}
