package logind

import (
	"context"
	"fmt"
	"slices"
)

// Unit is what systemd knows of one of its units (org.freedesktop.systemd1(5)).
type Unit struct {
	Loaded   bool   // it is installed
	Active   bool   // it runs, or listens
	Enabled  bool   // it will, after a boot
	State    string // in systemd's word, such as "failed"
	Stale    bool   // its files changed since systemd read them
	After    []string
	Status   string // what the service says of itself
	Bounding uint64 // the capabilities that it may have (capabilities(7)), a bit each
}

// Unit asks systemd about one of its units. One that is not installed is no error.
func (System) Unit(ctx context.Context, name string) (Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := Dial(ctx)
	if err != nil {
		return Unit{}, err
	}
	defer conn.Close()
	props, err := conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("ask systemd about %q: %w", name, err)
	}
	word := func(name string) string { s, _ := props[name].(string); return s }
	after, _ := props["After"].([]string)
	stale, _ := props["NeedDaemonReload"].(bool)
	bounding, _ := props["CapabilityBoundingSet"].(uint64)
	return Unit{
		Loaded: word("LoadState") == "loaded", Active: word("ActiveState") == "active", State: word("ActiveState"),
		Enabled: slices.Contains([]string{"enabled", "enabled-runtime", "static", "alias"}, word("UnitFileState")),
		After:   after, Stale: stale, Status: word("StatusText"), Bounding: bounding,
	}, nil
}
