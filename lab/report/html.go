package report

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/migrate/htmlpage"
)

//go:embed assets
var assets embed.FS

var layout = htmlpage.New(assets, "assets", template.FuncMap{
	"duration": duration,
	"seconds":  seconds,
	"boot":     bootWord,
	"copies":   copiesPhrase,
	"pass":     passWord,
	"optional": func(s *float64) string { return optional(s, seconds) },
})

// WriteHTML writes the report as one page that needs no other file, no network
// and, but for the plots, no script. The file is replaced as a whole and is on
// disk when WriteHTML returns; on an error the old one is still there.
func (r *Report) WriteHTML(path string) error {
	var b bytes.Buffer
	if err := r.render(&b); err != nil {
		return fmt.Errorf("render report %q: %w", path, err)
	}
	return replaceFile(path, b.Bytes())
}

func (r *Report) render(b *bytes.Buffer) error {
	return layout.Write(b, htmlpage.Page{
		Title: "What clients saw",
		Lead:  []string{r.lead()},
		Note:  "commit " + shorten(cmp.Or(r.Commit, "unknown"), 13), NoteTitle: r.Commit,
		Body: r.page(), Data: r.data(pageBudget),
	})
}

// lead says what the page is about.
func (r *Report) lead() string {
	if r.Mirror == nil && !r.compared() && slices.ContainsFunc(r.Scenarios, func(s Scenario) bool { return s.decides() }) {
		return "Two nodes without a power switch, and vmferry's guard: who decides what and when, and what clients see of it."
	}
	if r.Mirror != nil {
		return fmt.Sprintf("Two nodes that share no disk: what a guest writes is mirrored to the other node every %g s. "+
			"Which node had which copy, what a crash lost, and what clients saw of it.", r.Mirror.IntervalS)
	}
	return "Virtual machines leave a node that goes down: vmferry's agent beside " + r.peer() +
		", same nodes, same guests, same probe."
}

// compared reports whether there is a run of another agent than ours.
func (r *Report) compared() bool {
	return slices.ContainsFunc(r.Scenarios, func(s Scenario) bool { return s.Agent != Ours })
}

// decides reports whether the scenario's events are what it shows: who decided what and when.
func (s *Scenario) decides() bool { return s.Name == SplitBrain || s.Name == Hang || s.mirrors() }

// page is what the template shows.
type page struct {
	Peer   string // empty where no other agent ran
	Facts  []fact
	Groups []group
	// Baselines are shown as they are.
	Baselines []Baseline
	Mirror    *mirrorFigure // nil where nothing was mirrored
	Loss      string        // what a crash has lost; empty where nothing can be
}

// fact is one line of the environment.
type fact struct{ Name, Value string }

// group is everything about one scenario under one cluster manager.
type group struct {
	Name, Manager, About string

	Head comparison
	Rows []comparison
	Runs []run
}

// comparison is a metric with the lengths of its two bars, in percent.
type comparison struct {
	Label, Ours, Peer, Ratio string
	OursBar, PeerBar         int
	// Better and Worse tell who wins, neither when they are within 5 %.
	Better, Worse bool
}

// run is one scenario with one agent. Figure is its place in the page's data.
type run struct {
	*Scenario
	Figure  string
	Drawn   bool
	Events  []pageEvent
	Decides bool
}

// pageEvent is one row of a run's list of events.
type pageEvent struct {
	Number           int
	Time, Node, What string
}

// abouts explain the scenarios that this project knows.
var abouts = map[string]string{
	GracefulShutdown: "A node is shut down while its guests serve clients. 0 s is the shutdown command.",
	Crash:            "A node dies without a word while its guests serve clients. 0 s is the kill.",
	SplitBrain: "The nodes lose the link between them while clients talk to guests on both. 0 s is the cut. Each claims the " +
		"other's guests on the lease device; the one whose claim loses migrates its guests live and surrenders.",
	Hang: "No process of a node runs for some seconds while its guests serve clients; then it goes on. 0 s is when it stops. " +
		"Its lease expires, its access to the disks is revoked, and its guests are started on the other node. A copy that " +
		"wakes up without access is not counted as running.",
	MirrorCrash: "The node of the guest dies without a word. 0 s is the kill. The other node makes its replica the truth, in a " +
		"higher epoch, and starts the guest from it. What was written after the replica was taken is lost: how much at most " +
		"is in the agent's log.",
	MirrorReturn: "That node comes back, and its disks have newer writes than those that the guest goes on with. 0 s is when its " +
		"power is on. It does not start the guest, puts its image aside, and becomes the replica.",
	MirrorDrain: "The node of the guest is put in standby, so that the guest is moved live to the node with its replica. 0 s is the " +
		"command. The nodes change their parts.",
}

func (r *Report) page() *page {
	p := &page{Baselines: r.Baselines, Facts: r.Environment.facts(), Mirror: r.mirrorFigure(), Loss: r.loss()}
	if r.compared() || !slices.ContainsFunc(r.Scenarios, func(s Scenario) bool { return s.decides() }) {
		p.Peer = r.peer()
	}
	for i, k := range r.kinds() {
		p.Groups = append(p.Groups, r.group(i, k))
	}
	return p
}

// group prepares everything about kind i. Nobody is shown as the better one
// by the numbers of a run that did not pass.
func (r *Report) group(i int, k kind) group {
	g := group{Name: k.name, Manager: k.manager, About: abouts[k.name], Head: r.first(k).comparison()}
	passed := map[string]bool{Ours: true, r.peer(): true}
	for j, s := range r.runs(k) {
		passed[s.Agent] = passed[s.Agent] && s.Passed
		g.Runs = append(g.Runs, run{s, figureName(i, j), len(s.lanes()) > 0, s.pageEvents(), s.decides()})
	}
	for i, m := range r.compare(k) {
		c := m.comparison()
		c.Better, c.Worse = c.Better && passed[Ours], c.Worse && passed[r.peer()]
		if i == 0 {
			g.Head = c
		}
		g.Rows = append(g.Rows, c)
	}
	return g
}

// figureName ties run j of kind i to its plot's data.
func figureName(i, j int) string { return fmt.Sprintf("%d-%d", i, j) }

// facts are the environment's lines, without those that are empty.
func (e Environment) facts() []fact {
	accel := e.Accel
	if accel == "tcg" {
		accel = "tcg: guests were emulated"
	}
	all := []fact{
		{"Xen", e.Xen}, {"QEMU", e.QEMU}, {"libvirt", e.Libvirt}, {"Pacemaker", e.Pacemaker}, {"Corosync", e.Corosync},
		{"Heartbeat", e.Heartbeat},
		{"kernel", e.Kernel}, {"cores", positive(e.Cores)}, {"acceleration", accel},
		{"started", stamp(e.Started)}, {"finished", stamp(e.Finished)},
	}
	out := all[:0]
	for _, f := range all {
		if f.Value != "" {
			out = append(out, f)
		}
	}
	return out
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// stamp writes an instant for people, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// comparison prepares a metric for the page.
func (m metric) comparison() comparison {
	c := comparison{Label: m.label, Ours: none, Peer: none, Ratio: m.ratioText()}
	longest := 0.0
	for _, f := range []*figure{m.ours, m.peer} {
		if f != nil {
			longest = max(longest, f.value)
		}
	}
	bar := func(f *figure) (string, int) {
		switch {
		case f == nil:
			return none, 0
		case longest <= 0:
			return f.text, 0
		}
		return f.text, int(100*f.value/longest + 0.5)
	}
	c.Ours, c.OursBar = bar(m.ours)
	c.Peer, c.PeerBar = bar(m.peer)
	if m.ours != nil && m.peer != nil {
		c.Better = m.ours.value < 0.95*m.peer.value
		c.Worse = m.peer.value < 0.95*m.ours.value
	}
	return c
}
