package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	bootA = "5337c000-3d7e-4337-adf3-bf1d41c4b0af"
	bootB = "c2d89905-1808-4f75-b218-3ee4ed1110eb"
)

func encoded(t testing.TB, r Record) []byte {
	t.Helper()
	slot := make([]byte, SlotSize)
	if err := Encode(slot, r); err != nil {
		t.Fatal(err)
	}
	return slot
}

func TestEncodeDecode(t *testing.T) {
	want := Record{BootID: bootA, Boots: 3, Counter: 1 << 40, Foreign: 7}
	got, err := Decode(encoded(t, want))
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, id := range map[string]string{"short": "abc", "newline": bootA[:35] + "\n", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			if err := Encode(make([]byte, SlotSize), Record{BootID: id}); err == nil {
				t.Error("no error")
			}
		})
	}
	if err := Encode(make([]byte, 512), Record{BootID: bootA}); err == nil {
		t.Error("short slot: no error")
	}
}

// TestEveryByteCounts damages each byte of a slot in turn.
func TestEveryByteCounts(t *testing.T) {
	slot := encoded(t, Record{BootID: bootA, Boots: 1, Counter: 2})
	for i := range slot {
		slot[i] ^= 0x20
		if r, err := Decode(slot); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: got %+v, %v", i, r, err)
		}
		slot[i] ^= 0x20
	}
}

func TestNewest(t *testing.T) {
	blank := make([]byte, SlotSize)
	torn := encoded(t, Record{BootID: bootA, Boots: 9, Counter: 9})
	clear(torn[512:])
	rec := func(boots, counter uint64) []byte {
		return encoded(t, Record{BootID: bootA, Boots: boots, Counter: counter})
	}
	for _, test := range []struct {
		name    string
		a, b    []byte
		slot    int
		counter uint64
		err     error
	}{
		{"never written", blank, blank, 0, 0, ErrBlank},
		{"first write", rec(1, 1), blank, 0, 1, nil},
		{"second write", rec(1, 1), rec(1, 2), 1, 2, nil},
		{"third write", rec(1, 3), rec(1, 2), 0, 3, nil},
		{"later boot wins over counter", rec(1, 50), rec(2, 20), 1, 20, nil},
		{"torn A", torn, rec(1, 2), 1, 2, nil},
		{"torn B", rec(1, 3), torn, 0, 3, nil},
		{"first write torn", torn, blank, 0, 0, ErrBlank},
		{"both torn", torn, torn, 0, 0, ErrDamaged},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, slot, err := Newest(bytes.Join([][]byte{test.a, test.b}, nil))
			if !errors.Is(err, test.err) || slot != test.slot || r.Counter != test.counter {
				t.Errorf("got %+v in slot %d, %v", r, slot, err)
			}
		})
	}
}

func TestRead(t *testing.T) {
	area := append(encoded(t, Record{BootID: bootA, Boots: 1, Counter: 1}),
		encoded(t, Record{BootID: bootA, Boots: 1, Counter: 2})...)
	for _, test := range []struct {
		name    string
		content []byte
		counter uint64
		err     error
	}{
		{"exact", area, 2, nil},
		{"longer", append(bytes.Clone(area), 1, 2, 3), 2, nil},
		{"empty", nil, 0, ErrBlank},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := Read(bytes.NewReader(test.content))
			if !errors.Is(err, test.err) || r.Counter != test.counter {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	if _, err := Read(bytes.NewReader(area[:5000])); err == nil {
		t.Error("disk cut off inside the record: no error")
	}
}

// TestReadQcow2 lets QEMU's own tool make the images.
func TestReadQcow2(t *testing.T) {
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed")
	}
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	content := make([]byte, 1<<20)
	want := Record{BootID: bootA, Boots: 4, Counter: 44}
	copy(content[SlotSize:], encoded(t, want))
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want error
	}{
		{"plain", nil, nil},
		{"small clusters", []string{"-o", "cluster_size=512"}, nil},
		{"version 2", []string{"-o", "compat=0.10"}, nil},
		{"compressed", []string{"-c"}, ErrUnsupportedImage},
	} {
		t.Run(test.name, func(t *testing.T) {
			image := filepath.Join(dir, strings.ReplaceAll(test.name, " ", "-"))
			args := append([]string{"convert", "-f", "raw", "-O", "qcow2"}, test.args...)
			if out, err := exec.CommandContext(t.Context(), tool,
				append(args, raw, image)...).CombinedOutput(); err != nil {
				t.Fatalf("qemu-img: %v\n%s", err, out)
			}
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			view, err := Guest(f)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(view)
			if !errors.Is(err, test.want) || (err == nil && got != want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func qcowHeader(change func(h []byte)) []byte {
	h := make([]byte, 104)
	copy(h, "QFI\xfb\x00\x00\x00\x03")
	h[23] = 16 // cluster bits
	h[30] = 1  // 256 bytes of disk
	change(h)
	return h
}

func TestGuestRefuses(t *testing.T) {
	for name, image := range map[string][]byte{
		"backing file": qcowHeader(func(h []byte) { h[15] = 104 }),
		"encrypted":    qcowHeader(func(h []byte) { h[35] = 1 }),
		"version 9":    qcowHeader(func(h []byte) { h[7] = 9 }),
		"clusters":     qcowHeader(func(h []byte) { h[23] = 63 }),
		"huge":         qcowHeader(func(h []byte) { h[24] = 0xff }),
		"cut off":      qcowHeader(func([]byte) {})[:20],
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Guest(bytes.NewReader(image)); !errors.Is(err, ErrUnsupportedImage) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, Record{BootID: bootA, Boots: 1, Counter: 2, Foreign: 3}))
	f.Add(make([]byte, SlotSize))
	f.Add([]byte("VMFERRYD"))
	f.Fuzz(func(t *testing.T, slot []byte) {
		r, err := Decode(slot)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrBlank) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, err := Decode(encoded(t, r)); err != nil || again != r {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzGuest(f *testing.F) {
	f.Add(qcowHeader(func([]byte) {}))
	f.Add(qcowHeader(func(h []byte) { h[39], h[47] = 1, 0 }))
	f.Add(make([]byte, AreaSize))
	f.Fuzz(func(t *testing.T, image []byte) {
		view, err := Guest(bytes.NewReader(image))
		if err != nil {
			return
		}
		if r, err := Read(view); err == nil && len(r.BootID) != bootIDLen {
			t.Fatalf("record %+v", r)
		}
	})
}
