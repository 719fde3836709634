package param

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
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

func (r *reader) spec(name string) metadata.Parameter {
	p, _ := metadata.Lookup(name)
	return p
}

// maxNumber keeps milliseconds in a Duration and MiB in 64 bits of bytes.
const maxNumber = 1 << 40

// number is 0 where it is unset or cannot be used.
func (r *reader) number(name string) uint64 {
	s := r.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxNumber {
		r.bad(name, "%s=%q is not a number: give whole %s, or 0 for the default", name, s, r.spec(name).Unit)
		return 0
	}
	return n
}

func (r *reader) milliseconds(name string) time.Duration {
	return time.Duration(r.number(name)) * time.Millisecond
}

func (r *reader) seconds(name string) time.Duration {
	return time.Duration(min(r.number(name), uint64(ocf.MaxTimeout.Seconds()))) * time.Second
}

// secondsFrom is the default where it is unset, cannot be used, or is less than least.
func (r *reader) secondsFrom(name string, least time.Duration) time.Duration {
	before := len(r.problems)
	d := r.seconds(name)
	if r.get(name) != "" && len(r.problems) == before {
		if d >= least {
			return d
		}
		r.bad(name, "%s=%q is too short: give whole seconds from %v on", name, r.get(name), least.Seconds())
	}
	byDefault, _ := strconv.Atoi(r.spec(name).Default) // a test reads it
	return time.Duration(byDefault) * time.Second
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
		r.bad(name, "%s=%q is not a port: give a number from 1 to 65535", name, s)
	}
	return uint16(n)
}

// The words are those of ocf_is_true; what it takes for false must at least look like it.
var (
	trueWords  = []string{"yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"}
	falseWords = []string{"no", "false", "0", "NO", "FALSE", "False", "nein", "off", "OFF"}
)

// boolean is false where it is unset or cannot be used.
func (r *reader) boolean(name string) bool {
	s := r.get(name)
	switch {
	case s == "":
	case slices.Contains(trueWords, s):
		return true
	case !slices.Contains(falseWords, s):
		r.bad(name, "%s=%q is neither true nor false: set it to true or false", name, s)
	}
	return false
}

// list splits at commas and at white space; nil for nothing.
func (r *reader) list(name string) []string {
	return slices.Collect(strings.FieldsFuncSeq(r.get(name),
		func(c rune) bool { return strings.ContainsRune(", \t\n", c) }))
}

// ladder reads what may be tried to get the guest off its node.
func (r *reader) ladder(name string) ladder.Rungs {
	rungs, err := ladder.Parse(r.list(name))
	if err != nil {
		r.bad(name, "%s: %v", name, err)
	}
	if len(rungs) == 0 {
		rungs = ladder.Default
	}
	return rungs.ForStop()
}

// hostPorts is a list of HOST:PORT.
func (r *reader) hostPorts(name string) []string {
	all := r.list(name)
	for _, s := range all {
		host, port, err := net.SplitHostPort(s)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || host == "" || n == 0 {
			r.bad(name, "%s names %q: write it like 192.0.2.7:80 or [2001:db8::7]:80, separated by commas", name, s)
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

// choice is one of the words of the table, and its default where it is unset or cannot be used.
func (r *reader) choice(name string) string {
	spec, word := r.spec(name), r.get(name)
	if word == "" || slices.Contains(spec.Words, word) {
		return cmp.Or(word, spec.Default)
	}
	r.bad(name, "%s=%q is unknown: use one of %s, or leave it unset", name, word, strings.Join(spec.Words, ", "))
	return spec.Default
}
