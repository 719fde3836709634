package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"reflect"
	"slices"
)

// types are those of the messages; a type is sent as its place here.
var types = []reflect.Type{reflect.TypeFor[Hello](), reflect.TypeFor[State](), reflect.TypeFor[Round](),
	reflect.TypeFor[Ready](), reflect.TypeFor[Data](), reflect.TypeFor[Commit](), reflect.TypeFor[Close](),
	reflect.TypeFor[Done](), reflect.TypeFor[Refused](), reflect.TypeFor[Take]()}

// A NVRAM has half a megabyte; a value in a text can take a hundred times that in memory.
const maxText, maxShort, maxValues = 64 << 20, 64 << 10, 64 << 10

// longest is of a message's text. Only two types have all disks, or files: who has not greeted yet takes no memory.
func longest(kind uint32) uint32 {
	if int(kind) < len(types) && (types[kind] == reflect.TypeFor[Round]() || types[kind] == reflect.TypeFor[State]()) {
		return maxText
	}
	return maxShort
}

// Conn is one end of a stream. Send and Receive wait without a limit: whoever has the stream closes it. Each may run
// beside the other, but not twice at a time.
type Conn struct {
	r *bufio.Reader
	w io.Writer
}

// New makes a Conn of both directions of a stream.
func New(r io.Reader, w io.Writer) *Conn { return &Conn{bufio.NewReaderSize(r, 64<<10), w} }

type head [3]uint32 // the place in types, and the lengths of text and payload

// Send sends one of this package's messages, by value.
func (c *Conn) Send(message any) error {
	d, _ := message.(Data)
	kind := slices.Index(types, reflect.TypeOf(message))
	text, err := json.Marshal(message)
	if err == nil && (kind < 0 || len(text) > int(longest(uint32(max(kind, 0)))) || !d.fits()) {
		err = fmt.Errorf("a %T of %d and %d bytes is no message", message, len(text), len(d.Payload))
	}
	frame, _ := binary.Append(nil, binary.BigEndian, head{uint32(kind), uint32(len(text)), uint32(len(d.Payload))})
	if err == nil {
		_, err = c.w.Write(slices.Concat(frame, text, d.Payload))
	}
	if err != nil {
		return fmt.Errorf("send to the other node: %w", err)
	}
	return nil
}

// Receive waits for a message. The error wraps io.EOF where the stream has ended between two messages, and
// io.ErrUnexpectedEOF within one. A message takes a bounded memory; points, paths and offsets in it are as sent.
func (c *Conn) Receive() (message any, err error) {
	var h head
	if err = binary.Read(c.r, binary.BigEndian, &h); err == nil {
		message, err = c.body(h)
	}
	if err != nil {
		return nil, fmt.Errorf("receive from the other node: %w", err)
	}
	return message, nil
}

func (c *Conn) body(h head) (any, error) {
	var text, payload bytes.Buffer // they grow with what has come, not with what was announced
	if h[0] >= uint32(len(types)) || h[1] > longest(h[0]) || h[2] > MaxPayload {
		return nil, fmt.Errorf("%d and %d bytes of type %d are no message", h[1], h[2], h[0])
	}
	payload.Grow(int(h[2]))
	_, terr := io.CopyN(&text, c.r, int64(h[1]))
	if _, err := io.CopyN(&payload, c.r, int64(h[2])); err != nil || terr != nil {
		return nil, fmt.Errorf("%w: %v, %v", io.ErrUnexpectedEOF, terr, err)
	}
	if n := bytes.Count(text.Bytes(), []byte(",")); n > maxValues {
		return nil, fmt.Errorf("a message has %d values", n)
	}
	m := reflect.New(types[h[0]])
	err := json.Unmarshal(text.Bytes(), m.Interface())
	if d, ok := m.Interface().(*Data); ok && err == nil {
		if d.Payload = payload.Bytes(); !d.fits() {
			err = fmt.Errorf("%d bytes do not fit %d at %d", h[2], d.Length, d.Offset)
		}
	}
	return m.Elem().Interface(), err
}

func (d Data) fits() bool {
	want := d.Length
	if d.Zero || len(d.Sum) > 0 {
		want = 0
	}
	return uint64(len(d.Payload)) == want && (d.Zero || d.Length <= MaxPayload)
}

// AddTo adds a message to the SHA-256 of all that a round sends of a disk.
func (d Data) AddTo(sum hash.Hash) {
	_, _ = fmt.Fprintf(sum, "%d %d %t %x\n%s", d.Offset, d.Length, d.Zero, d.Sum, d.Payload) // never fails
}
