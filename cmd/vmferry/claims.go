package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/notes"
)

// claim is a guest that a cluster manager is configured to run, here or elsewhere.
type claim struct {
	resource string // the manager's name of it
	manager  string
	guest    string // libvirt's name
	guessed  bool   // the guest's file could not be read: guest is the file's name
	env      resource.Environ
	meta     map[string]string // Pacemaker's meta attributes
	timeouts map[string]string // by action, as the manager has them
	foreign  bool              // another agent runs it
	ruled    []string          // what a rule of the manager's decides: see hbplugin.Claim
}

// claims are those of all managers that run here. An error means that some may
// be missing.
func (c *call) claims(ctx context.Context, managers []managed, noted []notes.Guest) ([]claim, error) {
	var all []claim
	var errs []error
	for _, m := range managers {
		found, err := claimsOf(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot tell which guests %s has: %w", m, err))
		}
		all = append(all, found...)
	}
	for i := range all {
		c.identify(&all[i], noted)
	}
	return all, errors.Join(errs...)
}

func claimsOf(ctx context.Context, m managed) ([]claim, error) {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	found, err := m.Claims(ctx)
	var out []claim
	for _, f := range found {
		out = append(out, claim{
			resource: f.Resource, manager: m.String(), env: f.Environ, meta: f.Meta, timeouts: f.Timeouts, ruled: f.Ruled,
			foreign: f.Foreign(),
		})
	}
	return out, err
}

// identify finds out which guest a claim is about: from the agent's note, else from
// the guest's file.
func (c *call) identify(cl *claim, noted []notes.Guest) {
	i := slices.IndexFunc(noted, func(e notes.Guest) bool { return e.Resource == cl.resource })
	if i >= 0 {
		cl.guest = noted[i].Guest
		return
	}
	file := cl.env.Params.File()
	if name, err := resource.GuestName(c.path(file)); err == nil {
		cl.guest = name
		return
	}
	cl.guest, cl.guessed = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), true
}
