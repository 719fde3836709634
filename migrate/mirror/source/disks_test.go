package source

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a guest could not start from a replica of is not mirrored. Of an encrypted disk that would also have in the clear
// what NBD reads so.
func TestUnfitDisks(t *testing.T) {
	const secret = `<encryption format='luks'><secret type='passphrase' uuid='f52a81b2-424e-490c-823d-6bd4235bc572'/></encryption>`
	for name, tt := range map[string]struct{ driver, source, beside, want string }{
		"fit":                  {driver: "qcow2"},
		"raw":                  {driver: "raw", want: "qemu-img convert"},
		"encrypted":            {driver: "qcow2", source: secret, want: "encrypted"},
		"encrypted, as before": {driver: "qcow2", beside: secret, want: "encrypted"},
		"data elsewhere": {driver: "qcow2", source: "<dataStore type='file'><format type='raw'/><source file='/x.raw'/></dataStore>",
			want: "another file"},
	} {
		_, _, err := Disks(fmt.Sprintf(`<domain type='kvm'><name>g</name><devices><disk type='file' device='disk'>
			<driver name='qemu' type='%s'/><source file='/x.qcow2'>%s</source>%s<target dev='vda'/></disk></devices></domain>`,
			tt.driver, tt.source, tt.beside))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	path := filepath.Join(t.TempDir(), "x.qcow2")
	for name, tt := range map[string]struct {
		crypt    uint32
		features uint64
		fit      bool
	}{
		"plain":                   {fit: true},
		"open, zstd, extended":    {features: 1 | 8 | 16, fit: true},
		"damaged":                 {features: 2},
		"data in another file":    {features: 4},
		"of a QEMU that is newer": {features: 32},
		"LUKS":                    {crypt: 2},
	} {
		head := make([]byte, 104)
		copy(head, "QFI\xfb\x00\x00\x00\x03")
		head[30] = 1 // its size
		binary.BigEndian.PutUint32(head[32:], tt.crypt)
		binary.BigEndian.PutUint64(head[72:], tt.features)
		if err := os.WriteFile(path, head, 0o600); err != nil {
			t.Fatal(err)
		}
		if size, _, err := Size(path); (err == nil) != tt.fit || err == nil && size != 256 {
			t.Errorf("%s: %d bytes, %v", name, size, err)
		}
	}
}
