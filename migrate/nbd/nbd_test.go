package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

// recorded is the connection to a server that says the same whatever it is asked: cookies count from 1.
type recorded struct {
	io.Reader
	asked bytes.Buffer
}

func (r *recorded) Write(p []byte) (int, error)      { return r.asked.Write(p) }
func (r *recorded) Close() error                     { return nil }
func (r *recorded) LocalAddr() net.Addr              { return nil }
func (r *recorded) RemoteAddr() net.Addr             { return nil }
func (r *recorded) SetDeadline(time.Time) error      { return nil }
func (r *recorded) SetReadDeadline(time.Time) error  { return nil }
func (r *recorded) SetWriteDeadline(time.Time) error { return nil }

// pack makes bytes of texts and of numbers of their own widths.
func pack(parts ...any) (raw []byte) {
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			raw = append(raw, v...)
		case []byte:
			raw = append(raw, v...)
		case uint16:
			raw = be.AppendUint16(raw, v)
		case uint32:
			raw = be.AppendUint32(raw, v)
		case uint64:
			raw = be.AppendUint64(raw, v)
		default:
			panic(p)
		}
	}
	return raw
}

const size, dirty = uint64(8 << 20), "qemu:dirty-bitmap:b"

func optionReply(option, typ uint32, data []byte) []byte {
	return pack(uint64(0x3e889045565a9), option, typ, uint32(len(data)), data)
}

// hello is all that a server says before the first request.
func hello() []byte {
	return pack("NBDMAGICIHAVEOPT", uint16(3), optionReply(8, 1, nil),
		optionReply(10, 4, pack(uint32(7), dirty)), optionReply(10, 1, nil),
		optionReply(7, 3, pack(uint16(3), uint32(1), uint32(4096), uint32(32<<20))),
		optionReply(7, 3, pack(uint16(0), size, uint16(1))), optionReply(7, 1, nil))
}

func chunk(cookie uint64, last bool, typ uint16, data ...any) []byte {
	flags, raw := uint16(0), pack(data...)
	if last {
		flags = 1
	}
	return pack(uint32(0x668e33ef), flags, typ, cookie, uint32(len(raw)), raw)
}

func open(t *testing.T, server ...any) (*Client, *recorded) {
	t.Helper()
	conn := &recorded{Reader: iotest.OneByteReader(bytes.NewReader(pack(append([]any{hello()}, server...)...)))}
	c, err := New(t.Context(), conn, Export{"vda", dirty})
	if err != nil {
		t.Fatal(err)
	}
	conn.asked.Reset()
	return c, conn
}

func TestHandshake(t *testing.T) {
	whole := hello()
	conn := &recorded{Reader: bytes.NewReader(whole)}
	c, err := New(t.Context(), conn, Export{"vda", dirty})
	if err != nil || c.Size() != size {
		t.Fatalf("size %d, %v", c.Size(), err)
	}
	want := pack(uint32(1), "IHAVEOPT", uint32(8), uint32(0),
		"IHAVEOPT", uint32(10), uint32(4+3+4+4+len(dirty)), uint32(3), "vda", uint32(1), uint32(len(dirty)), dirty,
		"IHAVEOPT", uint32(7), uint32(4+3+2), uint32(3), "vda", uint16(0))
	if !bytes.Equal(conn.asked.Bytes(), want) {
		t.Errorf("asked\n%q, want\n%q", conn.asked.Bytes(), want)
	}
	for n := range whole {
		if _, err := New(t.Context(), &recorded{Reader: bytes.NewReader(whole[:n])}, Export{"vda", dirty}); err == nil {
			t.Fatalf("opened after %d bytes", n)
		}
	}
	begin := pack("NBDMAGICIHAVEOPT", uint16(3))
	for name, test := range map[string]struct {
		server []byte
		want   string
	}{
		"another protocol": {pack("SSH-2.0-OpenSSH_9.2\r\n"), "no NBD server"},
		"oldstyle":         {pack("NBDMAGIC", uint64(0x420281861253), size), "no NBD server"},
		"not fixed":        {pack("NBDMAGICIHAVEOPT", uint16(2), make([]byte, 64)), "no NBD server"},
		"unstructured":     {pack(begin, optionReply(8, 1<<31+1, []byte("no"))), `refuses option 8: "no"`},
		"another's reply":  {pack(begin, optionReply(7, 1, nil)), "another option"},
		"bad magic":        {pack(begin, uint64(1), uint32(8), uint32(1), uint32(0)), "another option"},
		"huge": {pack(begin, uint64(0x3e889045565a9), uint32(8), uint32(2), uint32(math.MaxUint32)),
			"are the most"},
		"never acknowledged": {pack(begin, bytes.Repeat(optionReply(8, 2, nil), 1000)), "does not acknowledge"},
		"no context":         {pack(begin, optionReply(8, 1, nil), optionReply(10, 1, nil)), "does not have"},
		"another context": {pack(begin, optionReply(8, 1, nil),
			optionReply(10, 4, pack(uint32(7), strings.Repeat("x", len(dirty)))), optionReply(10, 1, nil)), "does not have"},
		"no size": {pack(hello()[:len(hello())-20-32], optionReply(7, 1, nil)), "not tell its size"},
		"huge size": {pack(hello()[:len(hello())-20-32],
			optionReply(7, 3, pack(uint16(0), uint64(1<<63), uint16(1))), optionReply(7, 1, nil)), "not tell its size"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), &recorded{Reader: bytes.NewReader(test.server)}, Export{"vda", dirty})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	const at = uint64(4096)
	for name, test := range map[string]struct {
		server []byte
		want   string // what is read, or the error
		broken bool
	}{
		"at once": {chunk(1, true, 1, at, "abcdefgh"), "abcdefgh", false},
		"in pieces": {pack(chunk(1, false, 1, at, "ab"), chunk(1, false, 2, at+2, uint32(3)), chunk(1, false, 1, at+5, "fgh"),
			chunk(1, true, 0)), "ab\x00\x00\x00fgh", false},
		"a hole":   {chunk(1, true, 2, at, uint32(8)), strings.Repeat("\x00", 8), false},
		"an error": {chunk(1, true, 1<<15+1, uint32(5), uint16(4), "disk"), `input/output error ("disk")`, false},
		"an error with its offset": {pack(chunk(1, false, 1, at, "abcd"),
			chunk(1, false, 1<<15+2, uint32(5), uint16(0), at+4), chunk(1, true, 0)), `input/output error ("")`, false},
		"cut":                    {chunk(1, true, 1, at, "abcdefgh")[:35], "unexpected EOF", true},
		"too little":             {pack(chunk(1, false, 1, at, "abcd"), chunk(1, true, 0)), "not whole", true},
		"nothing":                {chunk(1, true, 0), "not whole", true},
		"too much":               {chunk(1, true, 1, at, "abcdefghi"), "are due", true},
		"more than that":         {pack(chunk(1, false, 1, at, "abcdefgh"), chunk(1, true, 1, at+8, "i")), "are due", true},
		"twice":                  {pack(chunk(1, false, 1, at, "abcd"), chunk(1, true, 1, at, "abcd")), "are due", true},
		"another place":          {chunk(1, true, 1, at-1, "abcdefgh"), "are due", true},
		"an empty piece":         {chunk(1, false, 1, at), "are due", true},
		"no offset":              {pack(chunk(1, true, 1, "abcd"), make([]byte, 8)), "are due", true},
		"an empty hole":          {chunk(1, false, 2, at, uint32(0)), "are due", true},
		"a huge hole":            {chunk(1, true, 2, at, uint32(math.MaxUint32)), "are due", true},
		"a hole with data":       {chunk(1, true, 2, at, uint32(8), "abcdefgh"), "a hole has", true},
		"extents":                {chunk(1, true, 5, uint32(7), uint32(8), uint32(1)), "type 5", true},
		"another's reply":        {chunk(2, true, 1, at, "abcdefgh"), "another request", true},
		"a simple reply":         {pack(uint32(0x67446698), uint32(0), uint64(1), "abcdefgh"), "no structured", true},
		"another magic":          {pack(uint32(1), uint32(1), uint64(1), uint32(0)), "no structured", true},
		"an error without any":   {chunk(1, true, 1<<15+1, uint32(0), uint16(0)), "no reason", true},
		"an empty error":         {chunk(1, true, 1<<15+1), "no reason", true},
		"a long error":           {chunk(1, true, 1<<15+1, make([]byte, 9<<10)), "are the most", true},
		"an end with data":       {chunk(1, true, 0, "x"), "are the most", true},
		"errors without an end":  {bytes.Repeat(chunk(1, false, 1<<15+1, uint32(5), uint16(0)), 999), "not end", true},
		"nothing without an end": {bytes.Repeat(chunk(1, false, 0), 999), "not end", true},
	} {
		t.Run(name, func(t *testing.T) {
			c, conn := open(t, test.server)
			buf := []byte("........")
			err := c.Read(t.Context(), buf, at)
			if err != nil && !strings.Contains(err.Error(), test.want) || err == nil && string(buf) != test.want {
				t.Errorf("%q, %v, want %q", buf, err, test.want)
			}
			if want := pack(uint32(0x25609513), uint32(0), uint64(1), at, uint32(8)); !bytes.Equal(conn.asked.Bytes(), want) {
				t.Errorf("asked %x, want %x", conn.asked.Bytes(), want)
			}
			conn.Reader = bytes.NewReader(chunk(2, true, 1, uint64(0), "x"))
			if err := c.Read(t.Context(), buf[:1], 0); (err != nil) != test.broken {
				t.Errorf("read again: %v", err)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	c, conn := open(t)
	big := make([]byte, MaxPayload+1)
	for _, err := range []error{
		c.Read(t.Context(), make([]byte, 2), size-1), c.Read(t.Context(), nil, size+1), c.Read(t.Context(), big, 0),
		c.Write(t.Context(), make([]byte, 1), math.MaxUint64), c.Write(t.Context(), big, 0),
		c.WriteZeroes(t.Context(), 1, size), c.WriteZeroes(t.Context(), 1, math.MaxUint64),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	for _, length := range []uint64{size, math.MaxUint64} {
		if _, err := c.Extents(t.Context(), 1, length); err == nil {
			t.Error("no error")
		}
	}
	if conn.asked.Len() > 0 {
		t.Errorf("asked %x", conn.asked.Bytes())
	}
}

func TestWrite(t *testing.T) {
	simple := func(cookie uint64, code uint32) []byte { return pack(uint32(0x67446698), code, cookie) }
	c, conn := open(t, simple(1, 0), chunk(2, true, 0), simple(3, 28), simple(4, 0))
	err := errors.Join(c.Write(t.Context(), []byte("abc"), 5), c.WriteZeroes(t.Context(), 0, size))
	if full := c.Write(t.Context(), []byte("d"), 9); err != nil || !errors.Is(full, unix.ENOSPC) {
		t.Errorf("%v; %v, want ENOSPC", err, full)
	}
	if err := errors.Join(c.Flush(t.Context()), c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	ask := func(command, cookie, offset uint64, length int) []byte {
		return pack(uint32(0x25609513), uint32(command), cookie, offset, uint32(length))
	}
	want := slices.Concat(ask(1, 1, 5, 3), []byte("abc"), ask(6, 2, 0, int(size)), ask(1, 3, 9, 1), []byte("d"),
		ask(3, 4, 0, 0), ask(2, 5, 0, 0))
	if !bytes.Equal(conn.asked.Bytes(), want) {
		t.Errorf("asked\n%x, want\n%x", conn.asked.Bytes(), want)
	}
	if err := c.Flush(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	c, _ = open(t, chunk(1, true, 1, uint64(0), "x"))
	if err := c.Flush(t.Context()); err == nil {
		t.Error("data in reply to a flush is no error")
	}
}

func TestExtents(t *testing.T) {
	status := func(cookie uint64, pairs ...uint32) []byte {
		raw := pack(uint32(7))
		for _, n := range pairs {
			raw = pack(raw, n)
		}
		return chunk(cookie, true, 5, raw)
	}
	for name, test := range map[string]struct {
		server []byte
		want   []Extent
		why    string
	}{
		"one":                  {status(1, 3000, 1), []Extent{{1000, 3000, 1}}, ""},
		"the last reaches out": {status(1, 1000, 0, 1<<31, 1), []Extent{{1000, 1000, 0}, {2000, 2000, 1}}, ""},
		"neighbours merge":     {status(1, 1000, 1, 500, 1, 1500, 0), []Extent{{1000, 1500, 1}, {2500, 1500, 0}}, ""},
		"in two replies": {pack(status(1, 1000, 1), status(2, 1000, 1, 1000, 0)),
			[]Extent{{1000, 2000, 1}, {3000, 1000, 0}}, ""},
		"an empty one":     {status(1, 1000, 1, 0, 0), nil, "empty"},
		"none":             {chunk(1, true, 0), nil, "not whole"},
		"no descriptor":    {chunk(1, true, 5, uint32(7)), nil, "no extents"},
		"half of one":      {pack(chunk(1, true, 5, uint32(7), uint32(3000), uint16(0))), nil, "no extents"},
		"another context":  {chunk(1, true, 5, uint32(8), uint32(3000), uint32(1)), nil, "no extents"},
		"twice":            {pack(chunk(1, false, 5, uint32(7), uint32(8), uint32(1)), status(1, 3000, 1)), nil, "type 5"},
		"too long":         {pack(uint32(0x668e33ef), uint16(1), uint16(5), uint64(1), uint32(1<<30)), nil, "are the most"},
		"data":             {chunk(1, true, 1, uint64(1000), "x"), nil, "type 1"},
		"the server's own": {chunk(1, true, 1<<15+1, uint32(22), uint16(0)), nil, "invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, test.server)
			got, err := c.Extents(t.Context(), 1000, 3000)
			if (err == nil) != (test.why == "") || err != nil && !strings.Contains(err.Error(), test.why) ||
				!slices.Equal(got, test.want) {
				t.Errorf("%v, %v, want %v, %q", got, err, test.want, test.why)
			}
		})
	}
}

// The extents of a large range are requested in steps, and too many of them are not kept.
func TestManyExtents(t *testing.T) {
	server := hello()
	be.PutUint64(server[len(server)-20-10:], 1<<40)
	pairs := make([]byte, 0, 1<<20)
	for i := uint32(0); len(pairs) < cap(pairs); i++ {
		pairs = append(pairs, pack(uint32(512), i%2)...)
	}
	for cookie := uint64(1); cookie < 20; cookie++ {
		server = append(server, chunk(cookie, true, 5, uint32(7), pairs)...)
	}
	c, err := New(t.Context(), &recorded{Reader: bytes.NewReader(server)}, Export{"vda", dirty})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Extents(t.Context(), 0, 1<<40); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
}

// A server that is silent, or does not read, is left at the end of the context, and the connection is of no use then.
func TestContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	go func() {
		_, _ = theirs.Write(make([]byte, 10))
		cancel(why)
	}()
	if _, err := New(ctx, ours, Export{}); !errors.Is(err, why) {
		t.Errorf("the handshake: %v", err)
	}
	ours, theirs = net.Pipe()
	defer func() { _ = theirs.Close() }()
	c := &Client{conn: ours, size: size}
	ctx, cancel = context.WithCancelCause(t.Context())
	go func() {
		_, _ = io.ReadFull(theirs, make([]byte, 40))
		cancel(why)
	}()
	if err := c.Write(ctx, make([]byte, 1000), 0); !errors.Is(err, why) {
		t.Errorf("a write: %v", err)
	}
	if err := c.Flush(t.Context()); !errors.Is(err, why) {
		t.Errorf("after it: %v", err)
	}
}

// FuzzClient lets the server say anything, from its greeting or after it.
func FuzzClient(f *testing.F) {
	f.Add(true, chunk(1, true, 1, uint64(4096), make([]byte, 4096)))
	f.Add(true, chunk(1, true, 2, uint64(4096), uint32(4096)))
	f.Add(true, pack(chunk(1, true, 1<<15+1, uint32(5), uint16(0)),
		chunk(2, true, 5, uint32(7), uint32(1<<20), uint32(1), uint32(1<<30), uint32(0)),
		uint32(0x67446698), uint32(28), uint64(3), chunk(4, true, 0)))
	f.Add(false, hello())
	f.Fuzz(func(t *testing.T, greeted bool, server []byte) {
		if greeted {
			server = append(hello(), server...)
		}
		c, err := New(t.Context(), &recorded{Reader: bytes.NewReader(server)}, Export{"vda", dirty})
		if err != nil {
			return
		}
		_ = c.Read(t.Context(), make([]byte, min(4096, c.Size())), min(4096, c.Size())/2)
		all, err := c.Extents(t.Context(), 0, c.Size())
		end := uint64(0)
		for _, e := range all {
			if e.Offset != end || e.Length == 0 {
				t.Fatalf("extents with a gap at %d: %v", end, e)
			}
			end += e.Length
		}
		if err == nil && end != c.Size() {
			t.Fatalf("extents up to %d of %d", end, c.Size())
		}
		_ = c.Write(t.Context(), make([]byte, 1), 0)
		_ = c.Flush(t.Context())
		_ = c.Close()
	})
}
