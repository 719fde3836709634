package main

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/hbplugin/logind"
)

// unit is what systemd knows of one of its units.
type unit struct {
	Loaded   bool   // it is installed
	Active   bool   // it runs, or listens
	Enabled  bool   // it will, after a boot
	State    string // in systemd's word, such as "failed"
	Stale    bool   // its files changed since systemd read them
	After    []string
	Status   string // what the service says of itself
	Sentence string // what it is, in words
	Bounding uint64 // the capabilities that it may have (capabilities(7)), a bit each
}

// units asks systemd about its units. A unit that is not installed is no error.
type units interface {
	Unit(ctx context.Context, name string) (unit, error)
}

// systemd is the real one, over its D-Bus interface (org.freedesktop.systemd1(5)).
type systemd struct{}

// Unit implements units.
func (systemd) Unit(ctx context.Context, name string) (unit, error) {
	ctx, cancel := context.WithTimeout(ctx, systemdTime)
	defer cancel()
	conn, err := logind.Dial(ctx)
	if err != nil {
		return unit{}, err
	}
	defer conn.Close()
	props, err := conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return unit{}, fmt.Errorf("ask systemd about %q: %w", name, err)
	}
	word := func(name string) string { s, _ := props[name].(string); return s }
	after, _ := props["After"].([]string)
	stale, _ := props["NeedDaemonReload"].(bool)
	file := word("UnitFileState")
	bounding, _ := props["CapabilityBoundingSet"].(uint64)
	return unit{
		Loaded: word("LoadState") == "loaded", Active: word("ActiveState") == "active", State: word("ActiveState"),
		Enabled: file == "enabled" || file == "enabled-runtime" || file == "static" || file == "alias",
		After:   after, Stale: stale, Status: word("StatusText"), Sentence: word("Description"),
		Bounding: bounding,
	}, nil
}
