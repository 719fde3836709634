package mirrord

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/source"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
)

// A refusal says its reason once, and names the node on which what it says is to be typed.
func TestRefusal(t *testing.T) {
	var reply strings.Builder
	const why = "an older image would be lost: type rm /img/a.vmferry-old, if nobody needs it"
	if err := wire.New(nil, &reply).Send(wire.Refused{Why: why}); err != nil {
		t.Fatal(err)
	}
	ssh := program(t, "echo 'vmferry-mirror: "+why+"' >&2; printf '"+octal(reply.String())+"'; cat >/dev/null\n")
	log, _ := test.NewNullLogger()
	store := mirror.Store{Dir: t.TempDir()}
	m := mirror.Manifest{Guest: "vm1", UUID: "6c1f7f0e-0000-4000-8000-00000000abcd", Role: mirror.Truth, Point: mirror.Point{Epoch: 1}}
	if err := store.Save(m); err != nil {
		t.Fatal(err)
	}
	d := New(nil, func(ctx context.Context, g Guest, _ bool, q source.Request) (source.Result, error) {
		q.UUID = m.UUID
		return (&source.Source{Store: store}).Round(ctx, q)
	}, log)
	g := &mirrored{Guest: Guest{Name: "vm1", UUID: m.UUID, Peer: "n2", SSH: ssh}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := d.send(ctx, g, g.Guest, false, source.Request{Guest: "vm1", To: "n2"})
	if n := strings.Count(err.Error(), "an older image"); n != 1 || !strings.Contains(err.Error(), "n2 refuses: an older image would be lost: on n2 type rm") {
		t.Errorf("%d times: %v", n, err)
	}
}

func octal(s string) (out string) {
	for _, b := range []byte(s) {
		out += "\\" + string([]byte{'0' + b>>6, '0' + b>>3&7, '0' + b&7})
	}
	return out
}
