package migrate

import (
	"fmt"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
)

// BudgetHeld is nil where the libvirt at a source's URI has what it takes to keep a blackout within a budget. Else
// it says why not, as an [*libvirt.Unsupported]: the move is as good as the hypervisor makes it.
func BudgetHeld(sourceURI string) error {
	return libvirt.DriverOf(sourceURI).Lacks(libvirt.CanBoundPause)
}

// applyCapabilities takes out of a request what the source's driver cannot do: without is why, one for each. What a
// move is no use without, or would be dangerous, is a refusal.
func applyCapabilities(r Request, d libvirt.Driver) (_ Request, without []error, err error) {
	o := &r.Options
	for _, need := range []struct {
		requested bool
		what      libvirt.Ability
		hint      string
	}{
		{r.Firm, libvirt.CanBoundPause, "allow the move to exceed the blackout budget"},
		{o.TLS, libvirt.CanEncrypt, "leave migration_tls, or --tls, out; migrate_options=--tunnelled sends the " +
			"memory through libvirt's own connection, which migration_transport=ssh or tls encrypts"},
		{o.CopyAll || o.CopyInc || r.Disks == preflight.DisksCopy, libvirt.CanCopyDisks,
			"put the guest's disks on storage that both nodes share"},
	} {
		if err := d.Lacks(need.what); need.requested && err != nil {
			return r, nil, refuse(preflight.CheckRequest, "an option of the request cannot be used", need.hint, err)
		}
	}
	tuned := o.Compressed || o.Parallel || o.ZeroCopy || o.Connections > 0 || o.Compression != ""
	for _, wish := range []struct {
		requested bool
		what      libvirt.Ability
		drop      func()
	}{
		{r.PostCopy || o.PostCopy, libvirt.CanPostCopy, func() { r.PostCopy, o.PostCopy = false, false }},
		{r.Bandwidth > 0, libvirt.CanBoundSpeed, func() { r.Bandwidth = 0 }},
		{r.DowntimeLimit > 0, libvirt.CanBoundPause, func() { r.DowntimeLimit = 0 }},
		{r.Disks == preflight.DisksAuto, libvirt.CanCopyDisks, func() { r.Disks = preflight.DisksShared }},
		{tuned, libvirt.CanTune, func() {
			o.Compressed, o.Parallel, o.ZeroCopy = false, false, false
			o.Connections, o.Compression, o.XBZRLECache = 0, "", 0
		}},
	} {
		if err := d.Lacks(wish.what); wish.requested && err != nil {
			wish.drop()
			without = append(without, err)
		}
	}
	r.Unsafe = r.Unsafe && d.JobControl // else it fears for no disk
	r.NoConverge = r.NoConverge || !d.JobControl
	return r, without, nil
}

// warnUnsupported notes, before the guest is touched, what this move cannot promise.
func (m *mover) warnUnsupported() {
	for _, promise := range []struct {
		what libvirt.Ability
		text string
	}{
		{libvirt.CanBoundPause, fmt.Sprintf("the blackout budget of %v cannot be held", m.budget())},
		{libvirt.CanTellPause, "the pause will not be known"},
	} {
		if err := m.driver.Lacks(promise.what); err != nil {
			m.rec.Unsupported = append(m.rec.Unsupported, promise.what)
			m.note(fmt.Sprintf("%s: %v", promise.text, err))
		}
	}
	for _, err := range m.without {
		m.note(fmt.Sprintf("left out: %v", err))
	}
}
