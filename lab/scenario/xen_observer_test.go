package scenario

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/xendomains"
)

const vm1UUID = "766d6665-7272-4000-9000-000000000001"

// dom0s are the streams of two nodes, of which a test says what they say. Their
// clocks differ from this machine's, and from each other's.
type dom0s struct {
	*xenObserver
	streams map[string]*stream
	began   map[string]time.Duration // a dom0's clock at clock(0)
	looked  map[string]int           // tenths of the last look, after the first one
}

func newDom0s() dom0s {
	o := &xenObserver{names: map[string]string{vm1UUID: "vm1"}}
	return dom0s{o, map[string]*stream{"node1": {observer: o, node: "node1"}, "node2": {observer: o, node: "node2"}},
		map[string]time.Duration{"node1": time.Hour, "node2": time.Minute}, map[string]int{}}
}

// look is what a node reports its one domain at a time; "" is that there is none.
func (d dom0s) look(node string, tenths int, state xendomains.State) {
	l := xendomains.Look{At: d.began[node] + time.Duration(tenths)*100*time.Millisecond}
	if last, ok := d.looked[node]; ok {
		l.Before = d.began[node] + time.Duration(last)*100*time.Millisecond
	}
	d.looked[node] = tenths
	if state != "" {
		l.Domains = []xendomains.Domain{{ID: 7, UUID: vm1UUID, State: state}}
	}
	d.streams[node].see(l, clock(tenths))
}

// migrate is a move from node1 to node2 as far as the pause.
func (d dom0s) migrate() {
	d.look("node1", 0, "")
	d.look("node2", 0, "")
	d.look("node1", 10, xendomains.Paused)
	d.look("node1", 20, xendomains.Executing)
	d.look("node2", 50, xendomains.Paused)
	d.look("node1", 99, xendomains.Executing)
	d.look("node1", 100, xendomains.Suspended)
	d.look("node2", 139, xendomains.Paused)
}

func TestXenObserver(t *testing.T) {
	const incoming, resting = true, true
	for _, test := range []struct {
		name   string
		play   func(dom0s)
		copies []Copy
		most   int
		pause  time.Duration // 0: none
	}{
		{"a migration", func(d dom0s) {
			d.migrate()
			d.look("node2", 140, xendomains.Executing)
			d.look("node1", 150, xendomains.Dying)
			d.look("node1", 160, "")
		}, []Copy{
			{"vm1", "node1", 7, !incoming, resting, clock(10), clock(160)},
			{"vm1", "node2", 7, incoming, resting, clock(50), time.Time{}},
		}, 1, 4 * time.Second},
		{"a migration that failed: the source goes on", func(d dom0s) {
			d.migrate()
			d.look("node2", 140, "")
			d.look("node1", 141, xendomains.Executing)
		}, []Copy{
			{"vm1", "node1", 7, !incoming, resting, clock(10), time.Time{}},
			{"vm1", "node2", 7, incoming, resting, clock(50), clock(140)},
		}, 1, 0},
		{"both go on", func(d dom0s) {
			d.migrate()
			d.look("node2", 140, xendomains.Executing)
			d.look("node1", 141, xendomains.Executing)
		}, []Copy{
			{"vm1", "node1", 7, !incoming, resting, clock(10), time.Time{}},
			{"vm1", "node2", 7, incoming, resting, clock(50), time.Time{}},
		}, 2, 4 * time.Second},
		{"both between two looks: the longer time counts", func(d dom0s) {
			d.migrate()
			d.looked["node2"] = 60 // it saw nothing from then on, and has it executing
			d.look("node2", 140, xendomains.Executing)
		}, []Copy{
			{"vm1", "node1", 7, !incoming, resting, clock(10), time.Time{}},
			{"vm1", "node2", 7, incoming, resting, clock(50), time.Time{}},
		}, 2, 4 * time.Second},
		{"the source is out of sight: it may go on", func(d dom0s) {
			d.migrate()
			d.streams["node1"].lost()
			d.look("node2", 140, xendomains.Executing)
		}, []Copy{
			{"vm1", "node1", 7, !incoming, resting, clock(10), time.Time{}},
			{"vm1", "node2", 7, incoming, resting, clock(50), time.Time{}},
		}, 2, 4 * time.Second},
		{"the source's machine died: it cannot", func(d dom0s) {
			d.migrate()
			d.machineGone("node1", clock(101))
			d.look("node2", 140, xendomains.Executing)
		}, []Copy{
			{"vm1", "node1", 7, !incoming, resting, clock(10), clock(101)},
			{"vm1", "node2", 7, incoming, resting, clock(50), time.Time{}},
		}, 1, 4 * time.Second},
		{"the target was out of sight when it began", func(d dom0s) {
			d.look("node1", 0, xendomains.Executing)
			d.look("node2", 0, "")
			d.streams["node2"].lost()
			d.look("node2", 30, xendomains.Paused)
		}, []Copy{
			{"vm1", "node1", 7, !incoming, !resting, clock(0), time.Time{}},
			{"vm1", "node2", 7, incoming, !resting, clock(0), time.Time{}},
		}, 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDom0s()
			test.play(d)
			if got := d.Copies(); len(got) != len(test.copies) || got[0] != test.copies[0] || got[1] != test.copies[1] {
				t.Errorf("got %+v", got)
			}
			if most := maxExecuting("vm1", d.Copies(), d.Events()); most != test.most {
				t.Errorf("%d executed at once, want %d: %+v", most, test.most, d.Events())
			}
			stop, resume, ok := pauseOf("vm1", "node1", "node2", d.Events())
			if ok != (test.pause > 0) || ok && resume.Sub(stop) != test.pause {
				t.Errorf("pause %v, %v", resume.Sub(stop), ok)
			}
		})
	}
}

// A stream that is lost twice, or before it reported anything, is lost once.
func TestXenObserverLoses(t *testing.T) {
	d := newDom0s()
	s := d.streams["node1"]
	s.lost()
	d.look("node1", 10, xendomains.Paused)
	s.lost()
	s.lost()
	d.look("node1", 20, xendomains.Paused)
	want := []Event{
		{At: clock(10), Node: "node1", Guest: "vm1", Name: Lost},
		{At: clock(20), Since: clock(10), Node: "node1", Guest: "vm1", Name: Stop},
	}
	if got := d.Events(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v", got)
	}
}

// TestOffset: lines that come late do not move the clock, one that drifts does.
func TestOffset(t *testing.T) {
	var o offset
	for i := range 100 {
		late := time.Duration(i%5) * 7 * time.Millisecond
		o.learn(time.Hour+time.Duration(i)*100*time.Millisecond, clock(i).Add(late))
	}
	if got := o.here(time.Hour + 10*time.Second); !got.Equal(clock(100)) {
		t.Errorf("got %v", got.Sub(clock(100)))
	}
	for i := range 100 { // slow by one in ten from then on
		o.learn(time.Hour+10*time.Second+time.Duration(i)*90*time.Millisecond, clock(100+i))
	}
	if got := clock(200).Sub(o.here(time.Hour + 19*time.Second)); got < 0 || got > 200*time.Millisecond {
		t.Errorf("%v behind", got)
	}
}
