package param

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/resource/ocf"
)

// reader takes parameters out of the environment and collects what is wrong with them.
type reader struct {
	vars     map[string]string
	problems []Problem
}

func (r *reader) get(name string) string { return r.vars[Prefix+name] }

func (r *reader) bad(param, format string, args ...any) {
	r.problems = append(r.problems, Problem{param, ocf.Errorf(ocf.Configured, format, args...)})
}

// maxNumber keeps milliseconds in a Duration and MiB in 64 bits of bytes.
const maxNumber = 1 << 40

func (r *reader) number(name, unit string) uint64 {
	s := r.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxNumber {
		r.bad(name, "%s=%q is not a number: give whole %s, or 0 for the default", name, s, unit)
		return 0
	}
	return n
}

// maxPriority is Pacemaker's INFINITY.
const maxPriority = 1000000

func (r *reader) integer(name string) int {
	s := r.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > maxPriority || n < -maxPriority {
		r.bad(name, "%s=%q is not a whole number from -%d to %d", name, s, maxPriority, maxPriority)
		return 0
	}
	return n
}

func (r *reader) port(name string) uint16 {
	s := r.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		r.bad(name, "%s=%q is no port: give a number from 1 to 65535", name, s)
	}
	return uint16(n)
}

// The words are those of ocf_is_true; what it takes for false must at least look like it.
var (
	trueWords  = []string{"yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"}
	falseWords = []string{"no", "false", "0", "NO", "FALSE", "False", "nein", "off", "OFF"}
)

// boolean is byDefault where the parameter is unset or empty.
func (r *reader) boolean(name string, byDefault bool) bool {
	s := r.get(name)
	switch {
	case s == "":
		return byDefault
	case slices.Contains(trueWords, s):
		return true
	case !slices.Contains(falseWords, s):
		r.bad(name, "%s=%q is neither true nor false: set it to true or false", name, s)
	}
	return false
}

// list splits at commas and at white space; nil for nothing.
func (r *reader) list(name string) []string {
	if r.get(name) == "" {
		return nil
	}
	return strings.FieldsFunc(r.get(name), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' })
}

// hostPorts is a list of HOST:PORT.
func (r *reader) hostPorts(name string) []string {
	all := r.list(name)
	for _, s := range all {
		host, port, err := net.SplitHostPort(s)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || host == "" || n == 0 {
			r.bad(name, "%s names %q: write it like 192.0.2.7:80 or [2001:db8::7]:80, several with commas between", name, s)
			return nil
		}
	}
	return all
}

// announce is a text that announce.ParseSetting takes; "" for its default.
func (r *reader) announce(name string) string {
	s := strings.TrimSpace(r.get(name))
	if _, err := announce.ParseSetting(s); err != nil {
		r.bad(name, "%s=%q cannot be used: %v", name, s, err)
		return ""
	}
	if s == announce.Auto {
		return ""
	}
	return s
}

// disks reads what is done with disks that are not on shared storage.
func (r *reader) disks(name string) migrate.DiskMode {
	return choice(r, name, "shared, copy or auto", migrate.DiskModes, migrate.DisksShared)
}

// memory reads what follows where a node is short of memory for the guest.
func (r *reader) memory(name string) migrate.MemoryMode {
	return choice(r, name, "warn, refuse or no", migrate.MemoryModes, migrate.MemoryWarn)
}

// choice reads one of several words, which words lists for people; without one it is def.
func choice[M ~string](r *reader, name, words string, all []M, def M) M {
	mode := M(r.get(name))
	switch {
	case mode == "":
		return def
	case !slices.Contains(all, mode):
		r.bad(name, "%s=%q is unknown: use %s, or leave it unset", name, mode, words)
		return def
	}
	return mode
}
