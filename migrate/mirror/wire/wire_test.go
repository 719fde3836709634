package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/mirror"
)

// all is one message of each type, and some more.
func all() []any {
	point, sum := mirror.Point{Epoch: 2, Generation: 9}, sha256.Sum256(nil)
	disk := mirror.Disk{Target: "vda", Path: "/a", Size: 1 << 20}
	m := mirror.Manifest{Schema: mirror.Schema, Guest: "web", UUID: "0", Role: mirror.Replica, Point: point,
		Disks: []mirror.Disk{disk}}
	return []any{
		Hello{mirror.Schema, "web", "0", "north", 2}, State{}, State{&m},
		Round{point, []mirror.Disk{disk}, []Part{{0, true, mirror.Point{}}, {1, false, point}}, 10},
		Ready{}, Data{Disk: 1, Offset: 4, Length: 3, Payload: []byte("abc")},
		Data{Length: 1 << 40, Zero: true}, Data{Offset: 5, Length: MaxPayload, Sum: sum[:]},
		Data{Length: MaxPayload, Payload: bytes.Repeat([]byte("x"), MaxPayload)},
		Commit{[][]byte{sum[:], sum[:]}, []mirror.State{{Path: "/n", Content: []byte("nvram")}}}, Close{point}, Done{point, []Data{{Disk: 1, Offset: 2, Length: 3, Sum: sum[:]}}},
		Refused{"there is no room"},
	}
}

func TestRoundTrip(t *testing.T) {
	var stream bytes.Buffer
	c := New(&stream, &stream)
	for _, m := range all() {
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range all() {
		if d, ok := want.(Data); ok && d.Payload == nil {
			d.Payload = []byte{}
			want = d
		}
		got, err := c.Receive()
		if d, ok := got.(Data); ok && d.Payload == nil {
			d.Payload = []byte{}
			got = d
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v arrived as %+v, %v", want, got, err)
		}
	}
	if _, err := c.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

func TestSendRefuses(t *testing.T) {
	for name, m := range map[string]any{
		"another type":           "text",
		"a pointer":              &Ready{},
		"nothing":                nil,
		"less than its length":   Data{Length: 2, Payload: []byte("x")},
		"zeroes with a payload":  Data{Length: 1, Zero: true, Payload: []byte("x")},
		"too much":               Data{Length: MaxPayload + 1, Payload: make([]byte, MaxPayload+1)},
		"the sum of too much":    Data{Length: MaxPayload + 1, Sum: []byte("x")},
		"a state of 60 megabyte": Commit{States: []mirror.State{{Content: make([]byte, 60<<20)}}},
	} {
		var stream bytes.Buffer
		if err := New(nil, &stream).Send(m); err == nil || stream.Len() > 0 {
			t.Errorf("%s: sent %d bytes, %v", name, stream.Len(), err)
		}
	}
	if err := New(nil, failing{}).Send(Ready{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a stream that is gone: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func frame(kind, text, payload uint32, rest string) string {
	b, _ := binary.Append(nil, binary.BigEndian, head{kind, text, payload})
	return string(b) + rest
}

func TestReceiveRefuses(t *testing.T) {
	many := "[" + strings.Repeat("{},", maxValues+1) + "{}]"
	for name, tt := range map[string]struct{ stream, want string }{
		"unknown type":        {frame(99, 2, 0, "{}"), "of type 99"},
		"long text":           {frame(0, maxText+1, 0, ""), "no message"},
		"long payload":        {frame(4, 2, MaxPayload+1, "{}"), "no message"},
		"no JSON":             {frame(0, 1, 0, "{"), "unexpected end of JSON"},
		"a number too large":  {frame(4, 16, 0, `{"Offset":-1   }`), "cannot unmarshal"},
		"announced, not sent": {frame(2, maxText, 0, "{"), "unexpected EOF"},
		"a long greeting":     {frame(0, maxShort+1, 0, ""), "no message"},
		"half a header":       {"\x00\x00", "unexpected EOF"},
		"half a payload":      {frame(4, 12, 3, `{"Length":3}ab`), "unexpected EOF"},
		"another payload":     {frame(4, 12, 2, `{"Length":3}ab`), "do not fit"},
		"too many values":     {frame(2, uint32(len(many)), 0, many), "65537 values"},
		"nothing":             {"", "EOF"},
	} {
		m, err := New(strings.NewReader(tt.stream), nil).Receive()
		if err == nil || !strings.Contains(err.Error(), tt.want) || m != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
		if whole := tt.stream == ""; errors.Is(err, io.EOF) != whole {
			t.Errorf("%s: %v counts as the end between two messages: %t", name, err, !whole)
		}
	}
}

// A sum tells all that counts.
func TestSum(t *testing.T) {
	seen := map[string]any{}
	for _, d := range []Data{{}, {Length: 1, Payload: []byte("a")}, {Length: 1, Payload: []byte("b")}, {Offset: 1, Length: 1, Zero: true},
		{Length: 11, Zero: true}, {Length: 1, Sum: []byte("a")}, {Offset: 1, Length: 1, Payload: []byte("a")}} {
		h := sha256.New()
		d.AddTo(h)
		if other, ok := seen[string(h.Sum(nil))]; ok {
			t.Errorf("%+v and %+v have the same sum", d, other)
		}
		seen[string(h.Sum(nil))] = d
	}
}

func TestRefusedIsOneLine(t *testing.T) {
	if s := (Refused{"a\nb\x1b[2J"}).Error(); strings.ContainsAny(s, "\n\x1b") {
		t.Errorf("%q", s)
	}
}

// What is received can be sent, and is the same again.
func FuzzReceive(f *testing.F) {
	for _, m := range all() {
		var b bytes.Buffer
		if err := New(nil, &b).Send(m); err != nil {
			f.Fatal(err)
		}
		if b.Len() < 1<<10 {
			f.Add(b.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := New(bytes.NewReader(raw), nil)
		for {
			m, err := c.Receive()
			if err != nil {
				return
			}
			if !slices.Contains(types, reflect.TypeOf(m)) {
				t.Fatalf("received a %T", m)
			}
			var b bytes.Buffer
			if err := New(nil, &b).Send(m); err != nil {
				t.Fatalf("%+v cannot be sent: %v", m, err)
			}
			again, err := New(&b, nil).Receive()
			if err != nil {
				t.Fatalf("%+v came back as %+v, %v", m, again, err)
			}
		}
	})
}
