package savedstate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// While it is not known whom NFS makes of root, another user's file may be libvirt's, and is not ignored.
func TestForeignWhileRootsUserIsUnknown(t *testing.T) {
	for _, c := range []struct {
		unsure, err error
		ignored     bool
	}{
		{nil, safefile.ErrForeign, true},
		{unix.ENOSPC, safefile.ErrForeign, false},
		{unix.ENOSPC, safefile.ErrNotFile, true},
	} {
		if got := (Place{unsure: c.unsure}).foreign(c.err); safefile.NotOurs(got) != c.ignored || got == nil {
			t.Errorf("%v, %v: %v", c.unsure, c.err, got)
		}
	}
	if err := (Place{unsure: unix.ENOSPC}).foreign(fs.ErrNotExist); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A libvirt saves a session's guest as the session's user, and on NFS one with a DAC label of its own as that.
func TestSaversOf(t *testing.T) {
	label := "<domain><name>vm1</name><seclabel type='static' model='dac'><label>+1234:+1234</label></seclabel></domain>"
	for _, c := range []struct {
		uri, text string
		want      []uint32
	}{
		{"qemu:///system", "<domain><name>vm1</name></domain>", nil},
		{"qemu:///system", label, []uint32{1234}},
		{"qemu:///system", strings.Replace(label, "dac", "selinux", 1), nil},
		{"qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock", "<domain><name>vm1</name></domain>", []uint32{1000}},
		{"qemu+unix:///system?socket=/run/user/1000/libvirt/libvirt-sock", "", nil},
	} {
		if got := saversOf(c.uri, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: %v, want %v", c.uri, c.text, got, c.want)
		}
	}
}

// The libvirt of a session writes to the file that is made for it as its user.
func TestSaveOfASessionInAStickyDirectory(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("needs root, to give a file to another user")
	}
	for session, want := range map[int]uint32{-1: 0, 1000: 1000} {
		file := filepath.Join(t.TempDir(), "vm1.state")
		p := Place{Directory: safefile.Directory{Access: safefile.Sticky}, owners: safefile.Only(1000), session: session}
		if err := p.prepare(file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(file)
		if err != nil || safefile.OwnerOf(info) != want || info.Mode() != 0o600 {
			t.Errorf("session %d: %v, %v", session, info, err)
		}
	}
}
