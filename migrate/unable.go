package migrate

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// BudgetHeld is nil where the libvirt at a source's URI has what it takes to keep a blackout within a budget. Else
// it says why not, as an [*libvirt.Unsupported]: the move is as good as the hypervisor makes it.
func BudgetHeld(sourceURI string) error {
	return libvirt.DriverOf(sourceURI).Lacks(libvirt.CanBoundPause)
}

// fit takes out of the request what the source's driver cannot do, and keeps what is to be said of that. What a
// move is no use without, or would be dangerous, is a refusal.
func (m *mover) fit() error {
	o := &m.req.Options
	for _, need := range []struct {
		asked bool
		what  libvirt.Ability
		hint  string
	}{
		{m.req.Firm, libvirt.CanBoundPause, "allow the move to exceed the blackout budget"},
		{o.TLS, libvirt.CanEncrypt, "leave migration_tls, or --tls, out; migrate_options=--tunnelled sends the memory " +
			"through libvirt's own connection, which migration_transport=ssh or tls encrypts"},
		{o.CopyAll || o.CopyInc || m.req.Disks == DisksCopy, libvirt.CanCopyDisks, "put the guest's disks on storage that both nodes share"},
	} {
		if err := m.driver.Lacks(need.what); need.asked && err != nil {
			return &Refusal{CheckRequest, "the move was asked for with what cannot be done", need.hint, err}
		}
	}
	for _, wish := range []struct {
		asked bool
		what  libvirt.Ability
		drop  func()
	}{
		{m.req.PostCopy || o.PostCopy, libvirt.CanPostCopy, func() { m.req.PostCopy, o.PostCopy = false, false }},
		{m.req.Bandwidth > 0, libvirt.CanBoundSpeed, func() { m.req.Bandwidth, m.rec.Cap = 0, 0 }},
		{m.req.DowntimeLimit > 0, libvirt.CanBoundPause, func() { m.req.DowntimeLimit = 0 }},
		{m.req.Disks == DisksAuto, libvirt.CanCopyDisks, func() { m.req.Disks = DisksShared }},
		{o.Compressed || o.Parallel || o.ZeroCopy || o.Connections > 0 || o.Compression != "", libvirt.CanTune, func() { untune(o) }},
	} {
		if err := m.driver.Lacks(wish.what); wish.asked && err != nil {
			wish.drop()
			m.unable = append(m.unable, fmt.Sprintf("left out: %v", err))
		}
	}
	if !m.driver.JobControl {
		m.req.Unsafe = false // it fears for no disk
	}
	if !m.driver.JobControl {
		m.req.NoConverge = true
	}
	return nil
}

// untune takes out what only makes a migration quicker.
func untune(o *libvirt.MigrateOptions) {
	o.Compressed, o.Parallel, o.ZeroCopy, o.Connections, o.Compression, o.XBZRLECache = false, false, false, 0, "", 0
}

// foretell notes, before the guest is touched, what this move cannot promise.
func (m *mover) foretell() {
	if err := m.driver.Lacks(libvirt.CanBoundPause); err != nil {
		m.rec.Unsupported = append(m.rec.Unsupported, libvirt.CanBoundPause)
		m.note(fmt.Sprintf("the blackout budget of %v cannot be held: %v", m.budget(), err))
	}
	if err := m.driver.Lacks(libvirt.CanTellPause); err != nil {
		m.rec.Unsupported = append(m.rec.Unsupported, libvirt.CanTellPause)
		m.note(fmt.Sprintf("the pause will not be known: %v", err))
	}
	for _, text := range m.unable {
		m.note(text)
	}
}

// checkLeftover lets a definition of the same guest be, which is not active. A guest without one is listed so only
// while something is done with it; Xen's driver goes on with that for ever where the source died in the midst of a
// migration, and takes no other until it is started anew.
func (m *mover) checkLeftover(ctx context.Context, there libvirt.Status) error {
	if there.Persistent {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if job, err := m.target.host.JobStats(ctx, m.req.Guest); err != nil || !job.Active {
		return nil
	}
	return &Refusal{CheckDuplicate, "the target's libvirt is still at work on an earlier migration or start of the guest",
		"wait for it, or start its daemon there anew, which leaves guests alone: systemctl restart libvirtd", nil}
}
