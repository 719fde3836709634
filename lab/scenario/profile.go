package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/mirrored"
)

// profile is everything in a scenario that depends on the hypervisor.
type profile struct {
	kind    string // of guests, see [guest.DomainSpec]
	boot    string // the folder of guests' kernel and initramfs
	disks   bool   // guests have a disk
	xl      bool   // guests have a configuration for xl
	alone   bool   // the emulator makes most of an outage: measure one that nobody else has a part in
	limits  limits
	pace    time.Duration // between two probes of one target
	ask     time.Duration // between two questions to one guest about itself, of which each is a connection
	guests  int           // how many one processor of a node carries, with their probes
	observe func(*cluster.Cluster, []Guest) observer
}

// limits bound the parts of a scenario. They are generous: the nodes share two
// processors with the guests that they emulate. What takes longer is wrong, and
// the scenario fails with what it saw.
type limits struct {
	start    time.Duration // from the guests' definition in the cluster to their answers
	each     time.Duration // more for each guest above a few, here and below: an emulated boot takes a processor
	trigger  time.Duration // from the trigger until every guest answers on the other node
	comeback time.Duration // until the node is a member again
}

// few is how many guests the limits hold for.
const few = 2

// profileOf is by the hypervisor's name; a cluster that names none is on QEMU.
func profileOf(c *cluster.Cluster) profile {
	if c.Hypervisor.Name == cluster.Xen.Name {
		// dom0 is emulated too, and moves one guest at a time. A packet costs such a node milliseconds: at fifty a
		// second and target, clients alone would take all of its processor, and what was observed would be their doing.
		return profile{
			kind: "xen", boot: OwnBoot, xl: true, alone: true, pace: 100 * time.Millisecond, ask: time.Second,
			guests: 1, observe: newXenObserver,
			limits: limits{start: 4 * time.Minute, each: time.Minute, trigger: 6 * time.Minute,
				comeback: 5 * time.Minute},
		}
	}
	return profile{
		kind: "qemu", boot: "/shared/boot", disks: true, guests: 2, observe: newQEMUObserver,
		pace: 20 * time.Millisecond, ask: 250 * time.Millisecond,
		limits: limits{start: 90 * time.Second, each: 15 * time.Second, trigger: 150 * time.Second,
			comeback: 2 * time.Minute},
	}
}

// askEvery is between two questions to one guest about itself. All guests together are asked as often as a few are:
// each answer is a connection to a program that is emulated, and what is measured would be their doing.
func (r *Runner) askEvery() time.Duration {
	return r.profile().ask * time.Duration(max(1, (len(r.Guests)+few-1)/few))
}

func (r *Runner) profile() profile { return profileOf(r.Cluster) }

// UsualGuests is how many guests a demo has on these nodes unless somebody wants another number.
func UsualGuests(c *cluster.Cluster) int { return profileOf(c).guests }

// OwnBoot is where nodes that read /shared slowly have the guests' kernel and
// initramfs of their own.
const OwnBoot = "/usr/lib/vmferry-lab"

// make writes the files of one guest below shared, which the nodes see as
// /shared, and says how to run it. What is on its disk already is kept.
func (p profile) make(ctx context.Context, c *cluster.Cluster, shared string, spec guest.DomainSpec) (Guest, error) {
	spec.Type, spec.Kernel, spec.Initrd = p.kind, p.boot+"/vmlinuz", filepath.Join(p.boot, filepath.Base(spec.Initrd))
	switch {
	case !p.disks:
		spec.Disk = ""
	case c.Exports:
		spec.Disk = guarded.DiskURI(spec.Name)
	case c.Local:
		spec.Disk = mirrored.Disk(spec.Name)
	}
	base := filepath.Join("guests", spec.Name)
	made := Guest{Guest: cluster.Guest{Name: spec.Name, Config: "/shared/" + base + ".xml"}, UUID: spec.UUID}
	made.Address, _, _ = strings.Cut(spec.IP, "/")
	text, err := guest.Domain(spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(shared, base+".xml"), []byte(text), 0o644)
	}
	if err == nil && p.xl {
		made.XMFile = "/shared/" + base + ".cfg"
		if text, err = guest.XLConfig(spec); err == nil {
			err = os.WriteFile(filepath.Join(shared, base+".cfg"), []byte(text), 0o644)
		}
	}
	if err != nil {
		return Guest{}, fmt.Errorf("write the files of guest %q: %w", spec.Name, err)
	}
	if spec.Disk == "" || c.Exports || c.Local {
		return made, nil
	}
	if _, err := os.Stat(filepath.Join(shared, base+".qcow2")); !os.IsNotExist(err) {
		return made, err
	}
	return made, guest.CreateDisk(ctx, func(ctx context.Context, program string, args ...string) error {
		_, err := c.Run(ctx, c.Nodes[0], program, args...)
		return err
	}, spec.Disk)
}
