package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/notes"
)

// pacemakerCall is one call of an agent, as Pacemaker on the agent's node logs it.
type pacemakerCall struct {
	guest, action string
	began, ended  time.Time
}

// callLine is a message of pacemaker-controld's about one call, in journalctl's short-unix form.
var callLine = regexp.MustCompile(
	`^(\d+)\.(\d{6}) .* (Requesting local execution|Result) of (\S+) operation for (\S+) on `)

// callsIn reads the calls from the journal of one or more nodes, in order of their begin. A call that has not ended is
// none, and so is one whose end alone is there.
func callsIn(journal string) []pacemakerCall {
	var calls []pacemakerCall
	began := map[string]time.Time{}
	for line := range strings.Lines(journal) {
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, ok := journalTime(m[1], m[2])
		key := m[4] + " " + m[5]
		switch since, open := began[key]; {
		case !ok:
		case m[3] != "Result":
			began[key] = at
		case open:
			calls = append(calls, pacemakerCall{m[5], m[4], since, at})
			delete(began, key)
		}
	}
	slices.SortStableFunc(calls, func(a, b pacemakerCall) int { return a.began.Compare(b.began) })
	return calls
}

// journalTime is of an instant's seconds and microseconds.
func journalTime(seconds, micros string) (time.Time, bool) {
	s, serr := strconv.ParseInt(seconds, 10, 64)
	us, uerr := strconv.ParseInt(micros, 10, 64)
	return time.Unix(s, us*1000), serr == nil && uerr == nil
}

// leavings are how long each part took of each guest's leaving a node, in seconds, by the parts' names.
type leavings map[string][]float64

// betweenCalls is the part of a guest's leaving in which no agent is called for it: Pacemaker's.
const betweenCalls = "between the calls"

// next is the first call of an action for a guest that does not begin before an instant.
func next(calls []pacemakerCall, guest, action string, after time.Time) (c pacemakerCall, ok bool) {
	i := slices.IndexFunc(calls, func(c pacemakerCall) bool {
		return c.guest == guest && c.action == action && !c.began.Before(after)
	})
	if i < 0 {
		return c, false
	}
	return calls[i], true
}

// movedAt is when the last call had returned that a guest's move took, which began after an instant: migrate_from and stop,
// or start where it was not moved live. It is false before that.
func movedAt(calls []pacemakerCall, guest string, since time.Time) (end time.Time, ok bool) {
	if start, ok := next(calls, guest, "start", since); ok {
		return start.ended, true
	}
	to, begun := next(calls, guest, "migrate_to", since)
	from, arrived := next(calls, guest, "migrate_from", to.ended)
	stop, stopped := next(calls, guest, "stop", to.ended)
	if !begun || !arrived || !stopped {
		return end, false
	}
	return later(from.ended, stop.ended), true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// leavingsIn takes the calls apart that took guests off a node: migrate_to, then migrate_from and stop. A guest is left
// out if one of its three calls was not seen.
func leavingsIn(calls []pacemakerCall) leavings {
	parts := leavings{}
	for _, to := range calls {
		if to.action != "migrate_to" {
			continue
		}
		from, arrived := next(calls, to.guest, "migrate_from", to.ended)
		stop, stopped := next(calls, to.guest, "stop", to.ended)
		if !arrived || !stopped {
			continue
		}
		between := stop.ended.Sub(to.began)
		for _, c := range []pacemakerCall{to, from, stop} {
			took := c.ended.Sub(c.began)
			between -= took
			parts[c.action] = append(parts[c.action], took.Seconds())
		}
		parts[betweenCalls] = append(parts[betweenCalls], max(0, between).Seconds())
	}
	return parts
}

func (l leavings) add(more leavings) {
	for name, values := range more {
		l[name] = append(l[name], values...)
	}
}

// inWords are the medians of named parts, or of all in alphabetic order.
func (l leavings) inWords(names ...string) string {
	if names == nil {
		names = slices.Sorted(maps.Keys(l))
	}
	var words []string
	for _, name := range names {
		if len(l[name]) > 0 {
			words = append(words, fmt.Sprintf("%s %.2f s", name, Summarize(l[name]).P50))
		}
	}
	return strings.Join(words, ", ")
}

// stepsIn are the parts of the moves that began since an instant, from lines of vmferry's records.
func stepsIn(records string, since time.Time) leavings {
	steps := leavings{}
	for line := range strings.Lines(records) {
		var r record.Record
		if json.Unmarshal([]byte(line), &r) != nil || r.Started.Before(since) {
			continue
		}
		for _, s := range r.Steps {
			steps[s.Name] = append(steps[s.Name], s.MS/1000)
		}
	}
	return steps
}

// callsSince reads the calls from the journals of all nodes.
func callsSince(ctx context.Context, c *cluster.Cluster, since time.Time) ([]pacemakerCall, error) {
	var journal strings.Builder
	for _, node := range c.Nodes {
		text, err := c.Run(ctx, node, "journalctl", "--output=short-unix", "--no-pager", "--quiet",
			"--since=@"+strconv.FormatInt(since.Unix(), 10), "--identifier=pacemaker-controld")
		if err != nil {
			return nil, err
		}
		journal.WriteString(text)
	}
	return callsIn(journal.String()), nil
}

// leavingsSince reads both from the nodes after a drain of the first one: the journal and the records outlive a reboot.
func leavingsSince(ctx context.Context, r *scenario.Runner, since time.Time) (calls, steps leavings, err error) {
	all, err := callsSince(ctx, r.Cluster, since)
	if err != nil {
		return nil, nil, err
	}
	first := r.Cluster.Nodes[0]
	// Without a move of vmferry's on the node there is no such file.
	records, _ := r.Cluster.Run(ctx, first, "cat", notes.DefaultStateDir+"/"+history.RecordsFile)
	return leavingsIn(all), stepsIn(records, since), nil
}
