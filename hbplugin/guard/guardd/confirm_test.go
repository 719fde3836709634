package guardd

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
)

func (n *node) confirm(other string) control.Reply {
	ctx, cancel := context.WithTimeout(n.Context(), 30*time.Second)
	defer cancel()
	return n.Answer(ctx, control.Request{Verb: control.Confirm, Node: other, UID: 1000})
}

// A node dies whose hardware stays broken. Nothing proves that it is gone but the administrator's word.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.start(1, nil), w.start(2, nil)
		time.Sleep(3 * time.Second)
		a.open(1)
		b.open(1)
		if r := a.confirm("beta"); r.OK || !strings.Contains(r.Why, "node beta is a member of the cluster") {
			t.Errorf("a member is confirmed off: %+v", r)
		}
		w.cutLink(true)
		time.Sleep(time.Second)
		if r := a.confirm("beta"); r.OK || r.Why != "node beta renews its lease: it is not off" {
			t.Errorf("a node that renews is confirmed off: %+v", r)
		}
		b.end()
		time.Sleep(10 * time.Second)
		if _, err := a.fence("beta"); err == nil || !strings.Contains(err.Error(), "type vmferry guard confirm beta") {
			t.Errorf("fenced: %v", err)
		}
		fenced := make(chan error)
		go func() { _, err := a.fence("beta"); fenced <- err }()
		time.Sleep(time.Second)
		if r := a.confirm("beta"); !r.OK || !strings.Contains(r.Why, "user 1000 says that node beta is off") {
			t.Errorf("not confirmed: %+v", r)
		}
		if err := <-fenced; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		var kinds []string
		for _, e := range a.done().events {
			kinds = append(kinds, string(e.Kind)+" "+e.Target)
		}
		if got := strings.Join(kinds, ", "); !strings.HasSuffix(got, "not fenced beta, confirm beta, fenced beta") {
			t.Errorf("events: %s", got)
		}
		for _, other := range []string{"alpha", "gamma"} {
			if r := a.confirm(other); r.OK {
				t.Errorf("node %s is confirmed off", other)
			}
		}
		a.end()
		time.Sleep(time.Second)
	})
}
