package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/vmferry/vmferry/resource/notes"
)

// Path is where the configuration is looked for.
const Path = "/etc/vmferry/vmferryd.toml"

// The cluster managers that can be configured.
const (
	Auto      = "auto" // whichever runs
	Pacemaker = "pacemaker"
	Heartbeat = "heartbeat"
)

var managers = []string{Auto, Pacemaker, Heartbeat}

// Config is the configuration, checked and complete.
type Config struct {
	Window     time.Duration // the longest drain; zero: logind's limit less a margin
	StopWindow time.Duration // zero: the unit's TimeoutStopSec less a margin
	Poll       time.Duration
	Forecast   time.Duration // from one forecast to the next; zero: never
	Manager    string        // Auto, Pacemaker or Heartbeat
	Node       string        // empty: ask the cluster manager
	Agents     []string      // the resource agents whose resources are guests
	GuestsDir  string        // of the agent's notes
	StateDir   string        // of the notes of standby
	Mirrors    []Mirror      // files that are mirrored to another node
}

// Mirror is a path that one node mirrors to another.
type Mirror struct {
	Path     string        // of a file or a directory, absolute and clean; none lies within another
	Interval time.Duration // from one round to the next
	From     string        // the node that has the truth
	Peer     string        // the node that has the copy; empty: the only other one
}

// rawConfig is the file as it is written. Strings stand for durations, so that
// a bare number, whose unit one would have to guess, is refused.
type rawConfig struct {
	Window     *Text `toml:"window"`
	StopWindow *Text `toml:"stop_window"`
	Poll       *Text `toml:"poll"`
	Forecast   *Text `toml:"forecast_interval"`
	Manager    *Text `toml:"manager"`
	Node       *Text `toml:"node"`
	Agents     *List `toml:"agents"`
	GuestsDir  *Text `toml:"guests_dir"`
	StateDir   *Text `toml:"state_dir"`

	Mirrors []struct {
		Path     *Text `toml:"path"`
		Interval *Text `toml:"interval"`
		From     *Text `toml:"from"`
		Peer     *Text `toml:"peer"`
	} `toml:"mirror"`
}

// Text and List are strings and lists of strings of a TOML file that say what is wrong in an operator's words; the
// decoder adds the place.
type (
	Text string
	List []string
)

// UnmarshalTOML implements toml.Unmarshaler.
func (t *Text) UnmarshalTOML(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%v is not a string: put it in double quotes", v)
	}
	*t = Text(s)
	return nil
}

// UnmarshalTOML implements toml.Unmarshaler.
func (l *List) UnmarshalTOML(v any) error {
	values, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%v is not a list: put it in square brackets", v)
	}
	for _, v := range values {
		var t Text
		if err := t.UnmarshalTOML(v); err != nil {
			return err
		}
		*l = append(*l, string(t))
	}
	return nil
}

// Default returns what holds without a file.
func Default() Config {
	return Config{
		Poll:      time.Second,
		Forecast:  5 * time.Minute,
		Manager:   Auto,
		Agents:    []string{"ocf:vmferry:Domain", "ocf:heartbeat:VirtualDomain"},
		GuestsDir: notes.DefaultGuestsDir,
		StateDir:  notes.DefaultRunDir,
	}
}

// Load reads the file. A missing one means the defaults; anything in it that is not understood is an error naming file,
// line and key.
func Load(path string) (Config, error) { return load(path, true) }

// LoadKnown is Load, and skips settings that it does not know: vmferryd refuses those, and of another release.
func LoadKnown(path string) (Config, error) { return load(path, false) }

func load(path string, strict bool) (Config, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return parse(path, string(text), strict)
}

// Parse reads the text of the file called path.
func Parse(path, text string) (Config, error) { return parse(path, text, true) }

func parse(path, text string, strict bool) (Config, error) {
	var raw rawConfig
	meta, err := toml.Decode(text, &raw)
	var bad toml.ParseError
	if errors.As(err, &bad) {
		return Config{}, located(path, bad.Position.Line, bad.LastKey, bad.Message)
	}
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if unknown := meta.Undecoded(); strict && len(unknown) > 0 {
		key := unknown[0]
		return Config{}, located(path, lineOf(text, key[0]), key.String(), "there is no such setting")
	}
	return raw.config(path, text)
}

// located is the one form of a complaint about the file.
func located(path string, line int, key, problem string) error {
	if key == "" {
		return fmt.Errorf("%s:%d: %s", path, line, problem)
	}
	return fmt.Errorf("%s:%d: %q: %s", path, line, key, problem)
}

// lineOf finds where a top-level key or table stands, counting from 1. The
// decoder keeps that to itself for keys that it has no place for.
func lineOf(text, key string) int {
	starts := regexp.MustCompile(`^[\s\["']*` + regexp.QuoteMeta(key) + `["']?\s*[=.\]]`)
	n := 0
	for line := range strings.Lines(text) {
		n++
		if starts.MatchString(line) {
			return n
		}
	}
	return 1
}

// config turns what was written into what is meant.
func (raw rawConfig) config(path, whole string) (Config, error) {
	c := Default()
	for _, s := range []struct {
		key string
		err error
	}{
		{"window", set(raw.Window, &c.Window, atLeast(time.Second))},
		{"stop_window", set(raw.StopWindow, &c.StopWindow, atLeast(time.Second))},
		{"poll", set(raw.Poll, &c.Poll, atLeast(100*time.Millisecond))},
		{"guests_dir", set(raw.GuestsDir, &c.GuestsDir, directory)},
		{"state_dir", set(raw.StateDir, &c.StateDir, directory)},
		{"forecast_interval", set(raw.Forecast, &c.Forecast, interval)},
		{"manager", set(raw.Manager, &c.Manager, manager)},
		{"agents", set(raw.Agents, &c.Agents, agents)},
		{"node", set(raw.Node, &c.Node, node)},
		{"mirror", raw.mirrors(&c)},
	} {
		if s.err != nil {
			return Config{}, located(path, lineOf(whole, s.key), s.key, s.err.Error())
		}
	}
	return c, nil
}

// mirrors reads the paths, and names the one that is wrong.
func (raw rawConfig) mirrors(c *Config) error {
	for i, r := range raw.Mirrors {
		m := Mirror{Interval: time.Minute}
		err := errors.Join(set(r.Path, &m.Path, mirrorPath), set(r.Interval, &m.Interval, atLeast(10*time.Second)),
			set(r.From, &m.From, node), set(r.Peer, &m.Peer, node))
		switch {
		case err != nil:
			err = errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
		case m.Path == "" || m.From == "":
			err = errors.New("it needs path and from, the node whose files are copied")
		case strings.EqualFold(m.From, m.Peer):
			err = fmt.Errorf("from and peer are both %q", m.Peer)
		case overlap(m.Path, ownFiles) || slices.ContainsFunc(c.Mirrors, func(o Mirror) bool { return overlap(o.Path, m.Path) }):
			err = fmt.Errorf("%q lies within another, or another within it; %q is taken, too", m.Path, ownFiles)
		}
		if err != nil {
			return fmt.Errorf("number %d: %w", i+1, err)
		}
		c.Mirrors = append(c.Mirrors, m)
	}
	return nil
}

// ownFiles are vmferry's, which differ between the nodes.
const ownFiles = "/var/lib/vmferry"

func overlap(a, b string) bool {
	return strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/")
}

// mirrorPath wants a path that can have files beside it.
func mirrorPath(s Text) (string, error) {
	p := string(s)
	if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" || strings.Contains(p, ".vmferry-") ||
		strings.ContainsFunc(p, unicode.IsControl) || !utf8.ValidString(p) {
		return "", fmt.Errorf("%q cannot be mirrored: write an absolute path without a slash at its end", p)
	}
	return p, nil
}

// set reads a setting that is written.
func set[R, V any](written *R, into *V, read func(R) (V, error)) error {
	if written == nil {
		return nil
	}
	v, err := read(*written)
	if err == nil {
		*into = v
	}
	return err
}

// atLeast reads a duration.
func atLeast(least time.Duration) func(Text) (time.Duration, error) {
	return func(s Text) (time.Duration, error) {
		d, err := time.ParseDuration(string(s))
		switch {
		case err != nil:
			return 0, fmt.Errorf(`%q is not a duration; write it as "90s" or "10m"`, s)
		case d < least:
			return 0, fmt.Errorf("%s is too short; the least is %s", d, least)
		}
		return d, nil
	}
}

// interval is a duration that may be "0" for never.
func interval(s Text) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	return atLeast(10 * time.Second)(s)
}

func directory(s Text) (string, error) {
	if !strings.HasPrefix(string(s), "/") {
		return "", fmt.Errorf("%q is not an absolute path", s)
	}
	return string(s), nil
}

func manager(s Text) (string, error) {
	if !slices.Contains(managers, string(s)) {
		return "", fmt.Errorf("%q is not a cluster manager: use one of %s", s, strings.Join(managers, ", "))
	}
	return string(s), nil
}

// agents wants names as the cluster manager writes them, class and all.
func agents(l List) ([]string, error) {
	if len(l) == 0 {
		return nil, errors.New("an empty list would wait for no guest")
	}
	for _, a := range l {
		if strings.Count(a, ":") != 2 {
			return nil, fmt.Errorf(`%q is not an agent; write it as "ocf:vmferry:Domain"`, a)
		}
	}
	return l, nil
}

func node(s Text) (string, error) {
	if strings.HasPrefix(string(s), "-") || strings.ContainsAny(string(s), " \t\n") {
		return "", fmt.Errorf("%q is not a node name", s)
	}
	return string(s), nil
}
