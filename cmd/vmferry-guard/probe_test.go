package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/resource/notes"
)

// A guest of the other node is probed until the agent has noted it: its file may be on a file system that is mounted
// later.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "haresources")
	if err := os.WriteFile(list, []byte("node1 vmferry::web\nnode2 vmferry::mail\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	store := notes.Open(dir, dir)
	if err := store.Identities.Save("web", notes.Identity{Name: "web", Config: "web.xml"}); err != nil {
		t.Fatal(err)
	}
	var asked []string
	agent := func(_ context.Context, _ string, args ...string) (string, error) {
		asked = append(asked, strings.Join(args, " "))
		if len(asked) < 3 {
			return "", nil
		}
		return "", store.Identities.Save("mail", notes.Identity{Name: "mail", Config: "mail.xml"})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		probe(ctx, []hbplugin.Cluster{&heartbeat.Client{Run: agent, Haresources: list}}, store, logrus.New())
	})
	if got := strings.Join(asked, ", "); got != strings.Repeat("/etc/libvirt/qemu/mail.xml status, ", 2)+
		"/etc/libvirt/qemu/mail.xml status" {
		t.Errorf("probed %s", got)
	}
}
