package check

import (
	"context"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/command"
)

// Mirrors is what is known of the guests and files that are mirrored from this node.
type Mirrors struct {
	Noted  []mirrord.Guest
	Unfit  error            // why some are not mirrored
	Daemon error            // why the daemon gave no answer
	Guests []mirrord.Status // its answer
	Kept   []mirror.Kept    // what was put aside on this node
	peers  []answer[string] // the commands by which the other nodes are reached, and why they are not
	clocks []peerClock
}

// sshTime bounds a login on another node.
const sshTime = 15 * time.Second

// Reach tries whether the other nodes can receive.
func (m *Mirrors) Reach(ctx context.Context, run command.Runner) {
	tried := map[string]bool{}
	for _, g := range m.Noted {
		line := append(g.SSH[:len(g.SSH):len(g.SSH)], "vmferry-mirror", "--clock")
		if text := shellword.Line(line...); !tried[text] {
			ctx, cancel := context.WithTimeout(ctx, sshTime)
			begun := time.Now()
			out, err := run(ctx, line[0], line[1:]...)
			half := time.Since(begun) / 2
			cancel()
			tried[text] = true
			var there time.Time
			if err == nil {
				there, err = time.Parse(time.RFC3339Nano, command.LastLine(out))
			}
			if err == nil {
				m.clocks = append(m.clocks, peerClock{g.Peer, there.Sub(begun.Add(half)), half})
			}
			m.peers = append(m.peers, answer[string]{text, err})
		}
	}
}

// mirrors: is each replica as young as it should be, and can the other node receive?
func mirrors(o *Observed, f *findings) {
	m := o.Mirrors
	if m == nil {
		return
	}
	if m.Unfit != nil {
		f.add("", Warning, verdict.OneLine(m.Unfit), "correct the parameters of its resource, or vmferryd.toml")
	}
	if m.Daemon != nil {
		f.add("", Warning, "nothing is mirrored: "+verdict.OneLine(m.Daemon), "type: systemctl enable --now vmferry-mirror")
	}
	for _, p := range m.peers {
		if p.err != nil {
			f.add("", Warning, "the other node cannot receive: "+verdict.OneLine(p.err), "type: "+p.value)
		}
	}
	for _, k := range m.Kept {
		f.add("", Warning, k.String(), "see vmferry-mirror(8)")
	}
	for _, g := range m.Guests {
		if state := g.State(); state == mirrord.Well || strings.HasPrefix(state, mirrord.FullSync) {
			f.add(g.Guest, OK, "its mirror on "+g.Peer+": "+state, "")
		} else {
			f.add(g.Guest, Warning, "its mirror on "+g.Peer+": "+state, "see vmferry-mirror(8)")
		}
	}
}
