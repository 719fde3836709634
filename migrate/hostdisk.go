package migrate

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// DiskMode says what is done with disks that are not on storage which both nodes share.
type DiskMode string

// The modes. Disks that a guest cannot write to are never copied.
const (
	DisksShared DiskMode = "shared" // nothing is copied; the same as ""
	DisksCopy   DiskMode = "copy"   // every image is copied, and none may be at the target already
	DisksAuto   DiskMode = "auto"   // those are copied that the target does not see
)

// DiskModes are all modes, for those who read one.
var DiskModes = []DiskMode{DisksShared, DisksCopy, DisksAuto}

// hostDisk is a disk of the guest's that is a file or a device of its host.
type hostDisk struct {
	target, path, format string

	writable bool // by this guest alone: what is worth copying
	why      string
}

// hostDisks lists them in the order of the guest's description.
func hostDisks(guest *libvirtxml.Domain) []hostDisk {
	if guest.Devices == nil {
		return nil
	}
	var all []hostDisk
	for _, d := range guest.Devices.Disks {
		h := hostDisk{writable: (d.Device == "" || d.Device == "disk") && d.ReadOnly == nil && d.Shareable == nil}
		switch {
		case d.Source == nil:
		case d.Source.File != nil:
			h.path = d.Source.File.File
		case d.Source.Block != nil:
			h.path, h.why = d.Source.Block.Dev, "it is a block device, which libvirt cannot create there"
		}
		if h.path == "" {
			continue
		}
		if d.Target != nil {
			h.target = d.Target.Dev
		}
		if d.Driver != nil {
			h.format = d.Driver.Type
		}
		switch {
		case h.why != "":
		case d.BackingStore != nil && d.BackingStore.Format != nil: // one that has none stands there as <backingStore/>
			h.why = "its image is based on another one"
		case h.format != "raw" && h.format != "qcow2":
			h.why = fmt.Sprintf("its image is of the format %q", h.format)
		}
		all = append(all, h)
	}
	return all
}

// decide tells whether a disk is to be copied, and refuses what cannot be. It is the whole rule.
func (d hostDisk) decide(mode DiskMode, there libvirt.Visible) (carry bool, err error) {
	refuse := func(reason, hint string) (bool, error) {
		return false, &Refusal{CheckDisk, fmt.Sprintf(reason, d.path), hint, nil}
	}
	copies := d.writable && (mode == DisksCopy || mode == DisksAuto)
	switch {
	case there == libvirt.VisibleNo && copies && d.why == "":
		return true, nil
	case copies && d.why != "" && (mode == DisksCopy || there == libvirt.VisibleNo):
		return refuse("the disk %q cannot be copied: "+d.why, "put it on storage that both hosts share, or copy it with migrate_options=--copy-storage-inc or --copy-storage-all, to what you have made for it there")
	case there == libvirt.VisibleNo && !d.writable:
		return refuse("the target does not see the image %q, which the guest only reads", "put it there too, or eject it")
	case there == libvirt.VisibleNo:
		return refuse("the target does not see the disk %q", "put it on storage that both hosts share, or let it be copied: disks=auto")
	case copies && mode == DisksCopy && there == libvirt.VisibleYes:
		return refuse("the target has a file %q already", "if it is on shared storage, set disks=auto; if it is an old copy, remove it there")
	case copies && mode == DisksCopy:
		return refuse("no storage pool of the target covers the disk %q", fmt.Sprintf("make one there: virsh pool-define-as NAME dir --target %s, pool-start NAME, pool-autostart NAME", filepath.Dir(d.path)))
	}
	return false, nil
}

// DiskBytes is about how much of a guest's disks a move in this mode copies, in bytes that their images take
// up: of those that the target may see already nothing is known here.
func DiskBytes(ctx context.Context, h Surveyor, guest string, mode DiskMode) (all uint64, err error) {
	if mode == DisksShared || mode == "" {
		return 0, nil
	}
	doc, err := h.XML(ctx, guest)
	parsed := &libvirtxml.Domain{}
	if err == nil {
		err = parsed.Unmarshal(doc)
	}
	for _, d := range hostDisks(parsed) {
		if !d.writable || d.why != "" || err != nil {
			continue
		}
		var size libvirt.DiskSize
		size, err = h.DiskSize(ctx, guest, d.target)
		all += size.Allocated
	}
	if err != nil {
		return 0, fmt.Errorf("ask the size of the disks of guest %q: %w", guest, err)
	}
	return all, nil
}

// mirrorStep is how much QEMU copies of a disk at a time, after which it rests for as long as a bound
// on the bandwidth asks for: 1 MiB in each of 16 requests.
const mirrorStep = 16 << 20

// stopCopying says why disks cannot be copied, or "". quiet is for how long nothing was sent, starved
// for how long the link has been too slow, and grace how long either may last.
func stopCopying(grace time.Duration, remaining, rate uint64, left, quiet, starved time.Duration) string {
	switch {
	case quiet >= grace:
		return fmt.Sprintf("the link has carried nothing of the disks for %v", quiet.Round(time.Second))
	case starved >= grace:
		return fmt.Sprintf("%d MiB of the disks are left, and they are copied at %.1f MiB/s: that would not end in the %v that are left",
			remaining>>20, float64(rate)/(1<<20), left.Round(time.Second))
	}
	return ""
}
