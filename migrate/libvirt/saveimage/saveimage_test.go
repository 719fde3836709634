package saveimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

const xml = "<domain><name>vm1</name></domain>"

// qemu is a saved state of QEMU's, with a cookie behind the description where there is one.
func qemu(order binary.AppendByteOrder, magic string, version uint32, text, cookie string) []byte {
	text += "\x00"
	offset := uint32(0)
	if cookie != "" {
		offset, cookie = uint32(len(text)), cookie+"\x00"
	}
	padding := strings.Repeat("\x00", 100)
	raw := []byte(magic)
	for _, n := range append([]uint32{version, uint32(len(text + cookie + padding)), 1, 0, offset}, make([]uint32, 14)...) {
		raw = order.AppendUint32(raw, n)
	}
	return append(raw, text+cookie+padding+"memory"...)
}

func xen(text string) []byte {
	raw := append([]byte(xenSaved), make([]byte, xenHeader-magicSize)...)
	raw[magicSize], raw[magicSize+4] = 2, byte(len(text)+1)
	return append(raw, text+"\x00memory"...)
}

func TestRead(t *testing.T) {
	little := qemu(binary.LittleEndian, qemuSaved, 2, xml, "")
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"QEMU":              {little, ""},
		"the first version": {qemu(binary.LittleEndian, qemuSaved, 1, xml, ""), ""},
		"with a cookie":     {qemu(binary.LittleEndian, qemuSaved, 2, xml, "<cookie/>"), ""},
		"a big-endian host": {qemu(binary.BigEndian, qemuSaved, 2, xml, "<cookie/>"), ""},
		"Xen":               {xen(xml), ""},
		"a newer version":   {qemu(binary.LittleEndian, qemuSaved, 3, xml, ""), "version"},
		"partial":           {qemu(binary.LittleEndian, qemuPartial, 2, xml, ""), "it is incomplete"},
		"empty":             {nil, "it is incomplete"},
		"cut in the header": {little[:50], "it is incomplete"},
		"cut in the text":   {little[:100], "it is incomplete"},
		"another file":      {bytes.Repeat([]byte("x"), 200), "not a libvirt save image"},
		"no text":           {append([]byte(qemuSaved), make([]byte, 200)...), "0 bytes"},
		"an endless text": {append(append([]byte(qemuSaved), 2, 0, 0, 0, 255, 255, 255, 255), make([]byte, 200)...),
			"4294967295 bytes"},
		"a cookie elsewhere": {patched(little, 16+16, 255), "inconsistent"},
	} {
		got, err := Read(bytes.NewReader(c.raw))
		if c.want == "" && (err != nil || got.XML != xml || string(c.raw[got.Size:]) != "memory") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Read(iotest.ErrReader(iotest.ErrTimeout)); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("%v", err)
	}
}

func patched(raw []byte, at int, b byte) []byte {
	raw = bytes.Clone(raw)
	raw[at] = b
	return raw
}

func FuzzRead(f *testing.F) {
	f.Add(qemu(binary.LittleEndian, qemuSaved, 2, xml, "<cookie/>"))
	f.Add(qemu(binary.BigEndian, qemuSaved, 2, xml, ""))
	f.Add(xen(xml))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Read(bytes.NewReader(raw))
		if err == nil && (got.Size > int64(len(raw)) || strings.Contains(got.XML, "\x00")) {
			t.Errorf("%+v of %d bytes", got, len(raw))
		}
	})
}
