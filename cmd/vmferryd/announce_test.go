package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestGuestsToAnnounce(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	task := announceTask{dir: t.TempDir(), log: log}
	if none, err := task.guests(); err != nil || len(none) > 0 {
		t.Errorf("without notes: %v, %v", none, err)
	}
	dir := filepath.Join(task.dir, "expected")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a.json": `{"guest":"vm1","resource":"a","uri":"qemu:///system"}`,
		"b.json": `{"guest":"vm2","resource":"b","uri":"xen:///system","announce":"off"}`,
		"c.json": `{"guest":"vm3","resource":"c","uri":"qemu:///system","announce":"192.0.2.7"}`,
		"d.json": `{"guest":"vm4","resource":"d","uri":"qemu:///system","announce":"of a newer agent"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := task.guests()
	if err == nil || !strings.Contains(err.Error(), "resource d") || len(got) != 4 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if g := got[0]; g.Name != "vm1" || g.URI != "qemu:///system" || g.Setting.Off || g.Setting.First != nil {
		t.Errorf("auto: %+v", g)
	}
	if g := got[1]; g.URI != "xen:///system" || !g.Setting.Off {
		t.Errorf("off: %+v", g)
	}
	if g := got[2]; !slices.Equal(g.Setting.First, []netip.Addr{netip.MustParseAddr("192.0.2.7")}) {
		t.Errorf("an address: %+v", g)
	}
	if g := got[3]; g.Name != "vm4" || g.Setting.Off || g.Setting.First != nil {
		t.Errorf("what cannot be read: %+v", g)
	}
}

// The task ends when it is told to, whether or not it may open its socket, and that is no error.
func TestAnnounceTaskEnds(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (announceTask{dir: t.TempDir(), log: log}).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestMigrationHosts(t *testing.T) {
	task := announceTask{dir: t.TempDir()}
	dir := filepath.Join(task.dir, "expected")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a.json": `{"guest":"vm1","resource":"a","uri":"qemu:///system","suffix":"-mig"}`,
		"b.json": `{"guest":"vm2","resource":"b","uri":"qemu:///system","suffix":"-mig"}`,
		"c.json": `{"guest":"vm3","resource":"c","uri":"qemu:///system"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := task.migrationHosts("n1"); !slices.Equal(got, []string{"n1", "n1-mig"}) {
		t.Errorf("got %q", got)
	}
}
