package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/notes"
)

const defaultConfig = "/etc/vmferry/vmferryd.toml"

// The cluster managers that can be configured; auto is whichever runs.
const (
	managerAuto      = "auto"
	managerPacemaker = "pacemaker"
	managerHeartbeat = "heartbeat"
)

// Config is what this program needs to know of vmferryd's configuration, so
// that both mean the same node, manager and guests.
type Config struct {
	Window    time.Duration // the longest drain that vmferryd wants, 0 for as long as logind lets it
	Manager   string
	Node      string // empty: ask the cluster manager
	Agents    []string
	GuestsDir string
	StateDir  string // where the notes of standby are
}

// loadConfig reads vmferryd's file; a missing one means the defaults. Settings
// of no use here are left to vmferryd, which refuses those that it does not know.
func loadConfig(path string) (Config, error) {
	c := Config{
		Manager: managerAuto, Agents: []string{"ocf:vmferry:Domain", "ocf:heartbeat:VirtualDomain"},
		GuestsDir: notes.DefaultGuestsDir, StateDir: notes.DefaultRunDir,
	}
	file := struct {
		Window    *string   `toml:"window"`
		Manager   *string   `toml:"manager"`
		Node      *string   `toml:"node"`
		Agents    *[]string `toml:"agents"`
		GuestsDir *string   `toml:"guests_dir"`
		StateDir  *string   `toml:"state_dir"`
	}{nil, &c.Manager, &c.Node, &c.Agents, &c.GuestsDir, &c.StateDir}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		_, err = toml.Decode(string(text), &file)
	}
	if err == nil && file.Window != nil {
		c.Window, err = time.ParseDuration(*file.Window)
	}
	if err == nil && !slices.Contains([]string{managerAuto, managerPacemaker, managerHeartbeat}, c.Manager) {
		err = fmt.Errorf("%q is no cluster manager", c.Manager)
	}
	if err != nil {
		return Config{}, fmt.Errorf("configuration %q cannot be used: %w: type %s", path, err,
			shellword.Line("vmferryd", "--check-config", "--config", path))
	}
	return c, nil
}
