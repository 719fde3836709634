package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Heartbeat is Heartbeat 3 in haresources mode, without STONITH unless the nodes
// have the guard: it takes a node for dead when it has been silent for the
// deadtime of ha.cf. Whoever silences a node must see to it that it is dead.
type Heartbeat struct{ *Cluster }

// resources is Heartbeat's list of what it runs, the same on all nodes. It is
// read again for every action.
const resources = "/etc/ha.d/haresources"

// resourceManager is what Heartbeat itself calls to start and stop what a line
// of haresources names.
const resourceManager = "/usr/share/heartbeat/ResourceManager"

// Name is [HeartbeatName].
func (Heartbeat) Name() string { return HeartbeatName }

// Agents is vmferry's alone: nobody else has one for Heartbeat.
func (Heartbeat) Agents() []Agent { return []Agent{Ours} }

// Take is as in [Manager].
func (h Heartbeat) Take(ctx context.Context) error { return h.take(ctx, HeartbeatName) }

// AwaitOnline is as in [Manager].
func (h Heartbeat) AwaitOnline(ctx context.Context, progress func(string)) error {
	for _, name := range h.Nodes {
		err := Await(ctx, fmt.Sprintf("Heartbeat on node %q", name), func(ctx context.Context) (bool, error) {
			err := h.Online(ctx, name)
			if err != nil {
				progress(name + " is joining the cluster")
			}
			return err == nil, err
		})
		if err != nil {
			return err
		}
		progress(name + " is online")
	}
	return nil
}

// Online is as in [Manager].
func (h Heartbeat) Online(ctx context.Context, name string) error {
	for _, node := range h.Nodes {
		if status, err := h.ask(ctx, name, "nodestatus", node); err != nil || status != "active" {
			return errors.Join(fmt.Errorf("node %q is %q on node %q", node, status, name), err)
		}
	}
	held, err := h.ask(ctx, name, "rscstatus")
	if err == nil && held == "transition" {
		err = fmt.Errorf("resources are moving on node %q", name)
	}
	return err
}

// ask has cl_status(1) answer a question on the named node.
func (h Heartbeat) ask(ctx context.Context, name string, question ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := h.Run(ctx, name, "cl_status", question...)
	return strings.TrimSpace(out), err
}

// AddGuests is as in [Manager]; agent can only be [Ours]. Each guest is a line of its own, which the named node is the
// home of.
func (h Heartbeat) AddGuests(ctx context.Context, agent Agent, guests []Guest, on string) error {
	if agent != Ours {
		return fmt.Errorf("run guests with %s: unknown agent for Heartbeat", agent)
	}
	if err := h.List(ctx, map[string][]Guest{on: guests}); err != nil {
		return err
	}
	// Heartbeat looks at its list when it starts or something changes hands;
	// one who adds to it tells the node himself.
	for _, g := range guests {
		if _, err := h.Run(ctx, on, resourceManager, "takegroup", h.resource(g)); err != nil {
			return err
		}
	}
	return nil
}

// List has Heartbeat run these guests and no others, by the node that is their home. A Heartbeat that runs looks at its
// list only when something changes hands.
func (h Heartbeat) List(ctx context.Context, homes map[string][]Guest) error {
	var text strings.Builder
	for _, home := range h.Nodes {
		text.WriteString(h.lines(homes[home], home))
	}
	return h.write(ctx, text.String())
}

// lines is haresources(5) with one line for each guest.
func (h Heartbeat) lines(guests []Guest, home string) string {
	var text strings.Builder
	for _, g := range guests {
		fmt.Fprintf(&text, "%s %s\n", home, h.resource(g))
	}
	return text.String()
}

// resource is a guest in the words of haresources: the agent and its arguments.
func (h Heartbeat) resource(g Guest) string {
	words := []string{"vmferry", g.Config}
	for _, p := range h.Hypervisor.Parameters(Ours, g) {
		if p.Name != "config" {
			words = append(words, p.Name+"="+p.Value)
		}
	}
	return strings.Join(words, "::")
}

// write replaces the list on every node.
func (h Heartbeat) write(ctx context.Context, text string) error {
	for _, name := range h.Nodes {
		if err := h.Cluster.write(ctx, name, resources, text); err != nil {
			return err
		}
	}
	return nil
}

// RemoveGuests is as in [Manager]. Heartbeat has no way to take a guest out:
// a stop means that the other node gets it. So Heartbeat ends on the other nodes
// first, then on via.
func (h Heartbeat) RemoveGuests(ctx context.Context, via string, _ []Guest) error {
	others := slices.DeleteFunc(slices.Clone(h.Nodes), func(name string) bool { return name == via })
	for _, name := range append(others, via) {
		if _, err := h.Run(ctx, name, "systemctl", "stop", "heartbeat.service"); err != nil {
			return err
		}
	}
	return h.write(ctx, "")
}

// Holds is as in [Manager]. Heartbeat knows whose resources a node holds, not
// which: those whose lines name it are local, all others foreign.
func (h Heartbeat) Holds(ctx context.Context, guests []Guest, name string) error {
	held, err := h.ask(ctx, name, "rscstatus")
	if err != nil {
		return err
	}
	text, err := h.Run(ctx, name, "cat", resources)
	if err != nil {
		return err
	}
	for _, g := range guests {
		if err := covers(held, text, h.resource(g), name); err != nil {
			return err
		}
	}
	return nil
}

// covers is nil when a node that holds that much (cl_status rscstatus) has a
// resource of the list.
func covers(held, list, resource, name string) error {
	for line := range strings.Lines(list) {
		home, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if what != resource {
			continue
		}
		want := "foreign"
		if home == name {
			want = "local"
		}
		if held != "all" && held != want {
			return fmt.Errorf("node %q holds %s resources, and %s is %s", name, held, resource, want)
		}
		return nil
	}
	return fmt.Errorf("%s does not list %s", resources, resource)
}
