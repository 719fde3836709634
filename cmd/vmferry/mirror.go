package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/hbplugin/check"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/hbplugin/mirrorfiles"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/replica"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/notes"
)

const (
	mirrorTime = 5 * time.Second     // for the daemon to say how it is
	roundTime  = 30 * 24 * time.Hour // for a round: a full sync takes as long as it takes
)

// mirrorGuests does what follows "vmferry mirror".
func mirrorGuests(ctx context.Context, c *call, args []string) error {
	accept := c.flags.Bool("accept-loss", false, "")
	yes := c.flags.Bool("yes", false, "")
	do, verb, want := c.mirrorStatus, mirrord.List, "[GUEST]"
	if len(args) > 0 {
		switch v := mirrord.Verb(args[0]); v {
		case mirrord.List:
			args = args[1:]
		case mirrord.Sync, mirrord.Verify, mirrord.Resync, "promote", "forget":
			verb, want, args = v, "GUEST", args[1:]
			do = func(ctx context.Context, guest string) error { return c.mirrorRound(ctx, v, guest) }
		}
	}
	c.name = "mirror " + string(verb)
	rest, done, err := c.begin(args, want)
	switch name, given := c.given("accept-loss", "yes"); {
	case done:
		return err
	case verb == "forget" && *accept:
		return misuse("%s: --accept-loss is for mirror promote", c.name)
	case verb == "forget":
		return c.mirrorForget(ctx, rest[0], *yes)
	case verb == "promote" && !*accept:
		return misuse("%s: what was written after the replica is lost: add --accept-loss", c.name)
	case verb == "promote":
		return c.mirrorPromote(ctx, rest[0], *yes)
	case given:
		return misuse("%s: --%s is for mirror promote", c.name, name)
	}
	return do(ctx, rest[0])
}

// mirrors are the mirrored guests of this node, as the daemon sees them, and what else this node has a copy of.
func (c *call) mirrors(ctx context.Context, now time.Time) ([]mirrord.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, mirrorTime)
	defer cancel()
	all, err := mirror.Store{Dir: c.path(mirror.DefaultDir)}.All()
	files, ferr := mirror.Store{Dir: c.path(mirrorfiles.DefaultDir)}.All()
	all, err = append(all, files...), errors.Join(err, ferr)
	reply, rerr := mirrord.Ask(ctx, c.path(mirrord.Socket), mirrord.Request{Verb: mirrord.List})
	out := reply.Guests
	for _, m := range all {
		if slices.ContainsFunc(out, func(s mirrord.Status) bool { return strings.EqualFold(s.UUID, m.UUID) }) {
			continue
		}
		s := mirrord.Status{Guest: m.Guest, UUID: m.UUID, Role: m.Role, Peer: m.Peer}
		if age, _ := m.Age(now, mirror.ThisBoot()); m.Role == mirror.Replica && !m.Taken().IsZero() && age >= 0 {
			s.AgeS = new(age.Seconds())
		}
		out = append(out, s)
	}
	for i := range out {
		for _, m := range all {
			if strings.EqualFold(out[i].UUID, m.UUID) {
				out[i].Kept = kept(ctx, m)
			}
		}
	}
	if errors.Is(rerr, socket.ErrNobody) && !slices.ContainsFunc(out, func(s mirrord.Status) bool { return s.Role == mirror.Truth }) {
		rerr = nil // it need not run where no guest is mirrored from
	}
	return out, errors.Join(err, rerr)
}

// kept is what was put aside beside a guest's disks, as far as that can be seen in time.
func kept(ctx context.Context, m mirror.Manifest) []mirror.Kept {
	all, _ := wait.Within(ctx, func() ([]mirror.Kept, error) { return m.Kept(), nil }, nil)
	return all
}

// mirrored is what check wants to know; nil where nothing is mirrored from here, and nothing was put aside.
func (c *call) mirrored(ctx context.Context, o *check.Observed) *check.Mirrors {
	m, bounded := new(check.Mirrors), ctx
	ctx, cancel := context.WithTimeout(ctx, mirrorTime)
	defer cancel()
	all, _ := mirror.Store{Dir: c.path(mirror.DefaultDir)}.All()
	for _, one := range all {
		m.Kept = append(m.Kept, kept(ctx, one)...)
	}
	noted, err := notes.GuestsIn(c.path(c.config.GuestsDir)).All()
	isFrom := func(m config.Mirror) bool { return strings.EqualFold(m.From, o.Node) }
	// That they cannot be read is found elsewhere.
	if (err != nil || !slices.ContainsFunc(noted, mirrord.IsMirrored)) && !slices.ContainsFunc(c.config.Mirrors, isFrom) {
		if len(m.Kept) == 0 {
			m = nil
		}
		return m
	}
	guests, gerr := mirrord.Guests(bounded, noted, o.Node, c.run)
	paths, perr := mirrord.Paths(bounded, c.config.Mirrors, guests, o.Node,
		func(context.Context) []string { return o.Others() })
	m.Noted, m.Unfit = append(guests, paths...), errors.Join(gerr, perr)
	reply, err := mirrord.Ask(ctx, c.path(mirrord.Socket), mirrord.Request{Verb: mirrord.List})
	m.Guests, m.Daemon = reply.Guests, err
	return m
}

// mirrorStatus shows all mirrors, or a guest's.
func (c *call) mirrorStatus(ctx context.Context, guest string) error {
	all, err := c.mirrors(ctx, time.Now())
	if guest != "" {
		all = slices.DeleteFunc(all, func(s mirrord.Status) bool { return s.Guest != guest })
	}
	if guest != "" && len(all) == 0 {
		return errors.Join(err, fmt.Errorf("guest %q is not mirrored from this node, and has no replica here", guest))
	}
	report := struct {
		Schema int              `json:"schema"`
		Guests []mirrord.Status `json:"guests"`
	}{schema, append([]mirrord.Status{}, all...)}
	return cmp.Or(c.result(report, func(w io.Writer) error {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "GUEST\tROLE\tPEER\tAGE\tINTERVAL\tMAX LOSS\tLAST ROUND\tSTATE")
		for _, s := range all {
			loss, last := "-", "-"
			if s.MaxLossS > 0 {
				loss = seconds(s.MaxLossS).String()
			}
			if s.Last.TookS > 0 {
				last = roundOf(s.Last)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Guest, s.Role, s.Peer, age(s), cmp.Or(s.Interval, "-"),
				loss, last, s.State())
		}
		err := t.Flush()
		for _, s := range all {
			for _, k := range s.Kept {
				err = errors.Join(err, say(w, s.Guest+": "+k.String()+"\n"))
			}
		}
		return err
	}), err)
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

func age(s mirrord.Status) string {
	if s.AgeS == nil {
		return "-"
	}
	return seconds(*s.AgeS).String()
}

func roundOf(r mirrord.Round) string {
	return fmt.Sprintf("%.1f MiB in %.1f s", float64(r.Bytes)/(1<<20), r.TookS)
}

// mirrorRound has a round made now.
func (c *call) mirrorRound(ctx context.Context, verb mirrord.Verb, guest string) error {
	bounded, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	reply, err := mirrord.Ask(bounded, c.path(mirrord.Socket), mirrord.Request{Verb: verb, Guest: guest})
	switch {
	case ctx.Err() != nil:
		return interrupted(": the round is aborted; the replica is as before")
	case err != nil:
		return fmt.Errorf("%s: %w", c.name, err)
	}
	err = c.result(struct {
		Schema int    `json:"schema"`
		Guest  string `json:"guest"`
		mirrord.Round
	}{schema, guest, reply.Round}, func(w io.Writer) error { return say(w, guest+": "+roundOf(reply.Round)+"\n") })
	if err == nil && reply.Differ > 0 {
		err = fmt.Errorf("the replica differs in %d places: type vmferry mirror resync %s", reply.Differ,
			shellword.Operands(guest))
	}
	return err
}

// mirrorPromote lets the agent start a guest from the disks here, whatever is lost.
func (c *call) mirrorPromote(ctx context.Context, guest string, yes bool) error {
	store := mirror.Store{Dir: c.path(mirror.DefaultDir)}
	all, err := store.All()
	i := slices.IndexFunc(all, func(m mirror.Manifest) bool { return m.Guest == guest })
	switch {
	case i < 0:
		return errors.Join(err, fmt.Errorf("%s: this node has no copy of the disks of guest %q", c.name, guest))
	case all[i].Role == mirror.Replica && !all[i].Ran && all[i].Taken().IsZero():
		return fmt.Errorf("%s: the replica here is not whole: nothing was done", c.name)
	}
	m := all[i]
	var loss *float64
	what := fmt.Sprintf("all that it has written on %s since it ran here, if it did", m.Peer)
	if m.Role == mirror.Replica && !m.Ran {
		age, isByClock := m.Age(time.Now(), mirror.ThisBoot())
		if what = "what it has written on " + m.Peer + " in a time that is not known, as this node's clock was changed"; age >= 0 {
			loss = new(age.Round(time.Second).Seconds())
			what = fmt.Sprintf("what it has written on %s in the last %.0f seconds", m.Peer, *loss)
			if isByClock {
				what += ", " + mirror.ByClock
			}
		}
	}
	if !yes && c.answer == nil {
		return fmt.Errorf("%s: nothing was done: to lose %s, add --yes", c.name, what)
	}
	if !yes {
		if err := c.confirm(ctx, fmt.Sprintf("Guest %s loses %s.", guest, what)); err != nil {
			return err
		}
	}
	file := strings.TrimSuffix(store.Path(m.UUID), ".json") + ".accept"
	if err := atomicfile.Bytes(file, []byte(m.Point.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	next := "start its resource on this node"
	for _, claim := range c.survey(ctx).Claims {
		if claim.Guest != guest {
			continue
		}
		if next = "type: hb_takeover local"; claim.Manager == config.Pacemaker {
			next = "type: " + cib.Cleanup(claim.Resource, "")
		}
	}
	return c.result(struct {
		Schema int      `json:"schema"`
		Guest  string   `json:"guest"`
		LossS  *float64 `json:"loss_s"`
		Next   string   `json:"next"`
	}{schema, guest, loss, next}, func(w io.Writer) error {
		return say(w, fmt.Sprintf("the next start of %s on this node may lose %s; %s\n", guest, what, next))
	})
}

// mirrorForget removes what this node has of a guest, by its name or its UUID, that is not mirrored here any more.
func (c *call) mirrorForget(ctx context.Context, guest string, yes bool) error {
	store := mirror.Store{Dir: c.path(mirror.DefaultDir)}
	all, err := store.All()
	all = slices.DeleteFunc(all, func(m mirror.Manifest) bool { return m.Guest != guest && m.UUID != guest })
	noted, nerr := notes.GuestsIn(c.path(c.config.GuestsDir)).All()
	here := func(n notes.Guest) bool { return mirrord.IsMirrored(n) && strings.EqualFold(n.UUID, all[0].UUID) }
	switch {
	case len(all) == 0:
		return errors.Join(err, fmt.Errorf("%s: this node has no copy of the disks of guest %q", c.name, guest))
	case len(all) > 1:
		return fmt.Errorf("%s: there are %d guests %q: type the UUID, as in vmferry mirror --json", c.name, len(all), guest)
	case nerr != nil:
		return fmt.Errorf("%s: %w", c.name, nerr)
	case slices.ContainsFunc(noted, here):
		return fmt.Errorf("%s: guest %q is mirrored from this node: remove the parameter mirror of its resource first",
			c.name, all[0].Guest)
	}
	what := fmt.Sprintf("The replica of guest %s is removed. This node cannot start it any more without %s.", all[0].Guest,
		all[0].Peer)
	if all[0].Role != mirror.Replica {
		what = fmt.Sprintf("Nothing is kept of which node has the current disks of guest %s. The disks here stay.",
			all[0].Guest)
	}
	if !yes && c.answer == nil {
		return fmt.Errorf("%s: nothing was done: %s To do that, add --yes", c.name, what)
	}
	if !yes {
		if err := c.confirm(ctx, what); err != nil {
			return err
		}
	}
	if err := (&replica.Engine{Store: store}).Forget(ctx, all[0].UUID); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return c.result(struct {
		Schema int    `json:"schema"`
		Guest  string `json:"guest"`
	}{schema, all[0].Guest}, func(w io.Writer) error {
		return say(w, "guest "+all[0].Guest+" is forgotten on this node\n")
	})
}
