package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/resource"
)

// claim is a guest that a cluster manager is configured to run, here or elsewhere.
type claim struct {
	resource string // the manager's name of it
	manager  string
	guest    string // libvirt's name
	guessed  bool   // the guest's file could not be read: guest is the file's name
	env      resource.Environ
	meta     map[string]string // Pacemaker's meta attributes
	ops      []cib.Op
}

// claims are those of all managers that run here. An error means that some may
// be missing.
func (c *call) claims(ctx context.Context, managers []managed, notes []resource.Entry) ([]claim, error) {
	var all []claim
	var errs []error
	for _, m := range managers {
		list := c.fromHaresources
		if m.pacemaker() {
			list = c.fromCIB
		}
		found, err := list(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot tell which guests %s has: %w", m, err))
		}
		all = append(all, found...)
	}
	for i := range all {
		c.identify(&all[i], notes)
	}
	return all, errors.Join(errs...)
}

func (c *call) fromCIB(ctx context.Context) ([]claim, error) {
	conf, err := c.configuration(ctx)
	if err != nil {
		return nil, err
	}
	var out []claim
	for _, r := range c.ours(conf) {
		out = append(out, claim{resource: r.ID, manager: managerPacemaker, env: paramsOf(r.ID, r.Params), meta: r.Meta, ops: r.Ops})
	}
	return out, nil
}

func (c *call) fromHaresources(context.Context) ([]claim, error) {
	text, err := os.ReadFile(c.path(haresources))
	if err != nil {
		return nil, fmt.Errorf("read haresources: %w", err)
	}
	var out []claim
	for _, e := range heartbeat.ParseHaresources(string(text)) {
		out = append(out, claim{resource: e.Name, manager: managerHeartbeat, env: paramsOf(e.Name, haParams(string(text), e.Name))})
	}
	return out, nil
}

// haParams are the parameters that a guest has in haresources:
// vmferry::GUEST::NAME=VALUE.
func haParams(text, name string) map[string]string {
	values := map[string]string{}
	for _, word := range strings.Fields(text) {
		parts := strings.Split(word, "::")
		if parts[0] != heartbeat.Script || len(parts) < 2 {
			continue
		}
		config, err := heartbeat.ConfigFile(parts[1])
		if err != nil || heartbeat.Name(config) != name {
			continue
		}
		values["config"] = config
		for _, p := range parts[2:] {
			if key, value, ok := strings.Cut(p, "="); ok {
				values[key] = value
			}
		}
	}
	return values
}

// identify finds out which guest a claim is about: from the agent's note, else from
// the guest's file.
func (c *call) identify(cl *claim, notes []resource.Entry) {
	i := slices.IndexFunc(notes, func(e resource.Entry) bool { return e.Resource == cl.resource })
	if i >= 0 {
		cl.guest = notes[i].Guest
		return
	}
	file := cl.env.Params.File()
	if name, err := resource.GuestName(c.path(file)); err == nil {
		cl.guest = name
		return
	}
	cl.guest, cl.guessed = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), true
}
