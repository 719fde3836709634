package source

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Disks are the disks that a mirror has of the guest with that XML, and the files that it needs beside them, by their
// paths alone. The error says which disk cannot be mirrored, and what to type.
func Disks(doc string) (disks []mirror.Disk, states []mirror.State, err error) {
	var dom libvirtxml.Domain
	if err = dom.Unmarshal(doc); err != nil {
		return nil, nil, err
	}
	if dom.OS != nil && dom.OS.NVRam != nil {
		path := dom.OS.NVRam.NVRam
		if src := dom.OS.NVRam.Source; src != nil && src.File != nil {
			path = src.File.File
		}
		states = append(states, mirror.State{Path: path})
	}
	if dom.Devices == nil {
		return nil, nil, errors.New("the guest has no disk")
	}
	for _, t := range dom.Devices.TPMs {
		if t.Backend != nil && t.Backend.Emulator != nil {
			states = append(states, mirror.State{Path: filepath.Join(tpmDir, filepath.Base(dom.UUID), "tpm2/tpm2-00.permall")})
		}
	}
	for _, d := range dom.Devices.Disks {
		if d.ReadOnly != nil || d.Device == "cdrom" || d.Device == "floppy" || d.Source == nil || d.Target == nil {
			continue
		}
		t := d.Target.Dev
		switch {
		case d.Source.File == nil:
			return nil, nil, fmt.Errorf("disk %q is no file: the mirror has images alone", t)
		case d.Shareable != nil || d.Transient != nil:
			return nil, nil, fmt.Errorf("disk %q is shareable or transient: the mirror cannot have it", t)
		case d.Encryption != nil || d.Source.Encryption != nil || d.Source.DataStore != nil:
			return nil, nil, fmt.Errorf("disk %q is encrypted, or has its data in another file, and a guest could not start "+
				"from its replica: encrypt within the guest; stop the guest, and make one plain image of it by "+
				"qemu-img convert", t)
		case d.Driver == nil || d.Driver.Type != "qcow2":
			path, format := d.Source.File.File, "raw"
			if d.Driver != nil && d.Driver.Type != "" { // a guess would follow what the guest has written
				format = d.Driver.Type
			}
			return nil, nil, fmt.Errorf("disk %q is not qcow2, and only qcow2 records what was written: stop the guest, type "+
				"%s, and name that image in the guest's configuration", t,
				shellword.Line("qemu-img", "convert", "-f", format, "-O", "qcow2", path, path+".qcow2"))
		}
		disks = append(disks, mirror.Disk{Target: t, Path: d.Source.File.File})
	}
	if len(disks) == 0 {
		return nil, nil, errors.New("the guest has no disk")
	}
	return disks, states, nil
}

// compare is why the guest has its disks at other places than it would be started from, or than they were: a replica of
// those would take the place of one that the guest can be started from.
func (r *round) compare(ctx context.Context) error {
	var named []mirror.Disk
	_ = within(ctx, func() error {
		raw, err := safefile.Read(r.Config, maxState, safefile.Anyone)
		if err == nil {
			named, _, err = Disks(string(raw))
		}
		return err
	})
	if !r.Full {
		named = append(named, r.own.Disks...)
	}
	for _, d := range r.disks {
		i := slices.IndexFunc(named, func(n mirror.Disk) bool { return n.Target == d.Target && n.Path != d.Path })
		if i >= 0 {
			return fmt.Errorf("disk %q is at %q now, and not at %q: where a snapshot is active, type %s; else name it in the "+
				"guest's configuration on both nodes, and type %s", d.Target, d.Path, named[i].Path,
				shellword.Line("virsh", "blockcommit", r.Guest, d.Target, "--active", "--pivot"),
				shellword.Line("vmferry", "mirror", "resync", r.Guest))
		}
	}
	return nil
}

const (
	tpmDir = "/var/lib/libvirt/swtpm"
	// maxState bounds a file beside the disks, and a configuration, in bytes. A NVRAM has half a megabyte.
	maxState = 8 << 20
)

// knownFeatures are those incompatible features of qcow2 that do not change what a guest could start from: dirty, which
// is about refcounts, compression type, and extended L2 entries.
const knownFeatures = 1<<0 | 1<<3 | 1<<4

// Size reads a disk's size from its image's header, which QEMU keeps right while the guest runs, and how much of it
// takes up space. QEMU's user can write the header: an image that leads to other files is an error.
//
// Source: docs/interop/qcow2.txt of QEMU.
func Size(path string) (size, allocated uint64, err error) {
	f, err := safefile.Open(path, safefile.Anyone)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	var head [80]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return 0, 0, fmt.Errorf("read the header of %q: %w", path, err)
	}
	version := binary.BigEndian.Uint32(head[4:])
	switch {
	case string(head[:4]) != "QFI\xfb":
		return 0, 0, fmt.Errorf("%q is not qcow2", path)
	case version < 3:
		return 0, 0, fmt.Errorf("%q is qcow2 of version %d, which cannot tell what was written: stop the guest, and type %s",
			path, version, shellword.Line("qemu-img", "amend", "-f", "qcow2", "-o", "compat=1.1", path))
	}
	unknown := binary.BigEndian.Uint64(head[72:]) &^ knownFeatures
	if backing := binary.BigEndian.Uint64(head[8:]); unknown != 0 || backing != 0 || binary.BigEndian.Uint32(head[32:]) != 0 {
		return 0, 0, fmt.Errorf("%q is encrypted, has a backing file, has its data in another file, or is damaged, or the mirror "+
			"does not know its features %#x: stop the guest, type %s, and name that image in the guest's configuration", path,
			unknown, shellword.Line("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", path, path+".qcow2"))
	}
	var at unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &at); err != nil {
		return 0, 0, err
	}
	return binary.BigEndian.Uint64(head[24:]), uint64(at.Blocks) * 512, nil
}

// look reads the disks' sizes.
func (r *round) look() (err error) {
	r.allocated = make([]uint64, len(r.disks))
	for i := range r.disks {
		d := &r.disks[i]
		if d.Size, r.allocated[i], err = Size(d.Path); err != nil {
			return fmt.Errorf("disk %q: %w", d.Target, err)
		}
	}
	return nil
}

// readStates reads the files beside the disks, of which some may not be there yet.
func (r *round) readStates() (err error) {
	paths := r.states
	r.states = nil
	for _, s := range paths {
		if s.Content, err = readState(s.Path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read what the guest needs beside its disks: %w", err)
		}
		r.states = append(r.states, s)
	}
	return nil
}

// readState reads an NVRAM or a TPM's state. QEMU's and swtpm's users own the directory: a link of theirs, also in the
// directory's place, would have any file of root's sent.
func readState(path string) ([]byte, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	fd, err := unix.Openat(int(dir.Fd()), filepath.Base(path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q: %w", path, safefile.ErrNotFile)
	}
	raw, rerr := io.ReadAll(io.LimitReader(f, maxState+1))
	if err = cmp.Or(err, rerr); err == nil && len(raw) > maxState {
		err = fmt.Errorf("%q: %w", path, safefile.ErrTooLarge)
	}
	return raw, err
}
