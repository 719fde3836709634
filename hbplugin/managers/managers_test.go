package managers

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
)

// fakeManager is a cluster manager that says what a test wants.
type fakeManager struct {
	hbplugin.Cluster // for what no test comes to
	view             hbplugin.View
	viewErr          error
	askErr           error
	asked            []string
}

func (*fakeManager) String() string { return "fake" }

func (f *fakeManager) View(context.Context) (hbplugin.View, error) { return f.view, f.viewErr }

func (f *fakeManager) Standby(context.Context) error {
	f.asked = append(f.asked, "standby")
	return f.askErr
}

func (f *fakeManager) Unstandby(context.Context) error {
	f.asked = append(f.asked, "unstandby")
	return f.askErr
}

func TestConfigured(t *testing.T) {
	c := config.Default()
	c.Node = "n1"
	for name, want := range map[string]string{"auto": "pacemaker or heartbeat", "pacemaker": "pacemaker",
		"heartbeat": "heartbeat"} {
		c.Manager = name
		if got := Any(Configured(c)).String(); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	c.Manager = "auto"
	both := Configured(c)
	if p, h := both[0].(*pacemaker.Client), both[1].(*heartbeat.Client); p.Node != "n1" || h.Node != "n1" ||
		len(p.Agents) == 0 {
		t.Errorf("%+v, %+v", p, h)
	}
}

// A node in standby with guests that nobody takes is asked about: with Heartbeat that is one whose peer is down.
func TestStandbyWithGuestsThatStay(t *testing.T) {
	for stuck, want := range map[string]bool{"": true, "no other node is active": false} {
		m := &fakeManager{view: hbplugin.View{Running: true, Standby: true,
			Guests: []hbplugin.Guest{{Name: "web", Stuck: stuck}}}}
		if seen, err := Look(t.Context(), []hbplugin.Cluster{m}); err != nil || seen.Standby != want {
			t.Errorf("stuck %q: %+v, %v", stuck, seen, err)
		}
	}
}

func TestAnyView(t *testing.T) {
	runs := func(standby bool, guests ...string) hbplugin.View {
		v := hbplugin.View{Running: true, Standby: standby}
		for _, g := range guests {
			v.Guests = append(v.Guests, hbplugin.Guest{Name: g})
		}
		return v
	}
	none, failed := hbplugin.View{}, errors.New("no answer")
	for _, tt := range []struct {
		name        string
		one, two    hbplugin.View
		oneErr, err error
		want        hbplugin.View
	}{
		{"neither", none, none, nil, nil, none},
		{"the first", runs(true, "a"), none, nil, nil, runs(true, "a")},
		{"the second", none, runs(false, "b"), nil, nil, runs(false, "b")},
		{"both", runs(true, "a"), runs(true, "b"), nil, nil, runs(true, "a", "b")},
		{"both, one in standby", runs(true, "a"), runs(false), nil, nil, runs(false, "a")},
		{"one cannot tell", none, runs(true), failed, failed, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Any{&fakeManager{view: tt.one, viewErr: tt.oneErr}, &fakeManager{view: tt.two}}
			got, err := w.View(t.Context())
			if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// The managers change between calls: each call asks those that run then.
func TestAnyAsks(t *testing.T) {
	one, two := &fakeManager{}, &fakeManager{}
	w := Any{one, two}
	if err := w.Standby(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("neither: %v", err)
	}
	one.view.Running = true
	first := w.Standby(t.Context())
	one.view.Running, two.view.Running = false, true
	second := w.Unstandby(t.Context())
	refused := errors.New("refused")
	one.viewErr, one.askErr = refused, refused
	third := w.Standby(t.Context())
	if first != nil || second != nil || !errors.Is(third, refused) {
		t.Errorf("%v, %v, %v", first, second, third)
	}
	if got, want := strings.Join(one.asked, ","), "standby,standby"; got != want {
		t.Errorf("the first was asked %s, want %s", got, want)
	}
	if got, want := strings.Join(two.asked, ","), "unstandby,standby"; got != want {
		t.Errorf("the second was asked %s, want %s", got, want)
	}
}
