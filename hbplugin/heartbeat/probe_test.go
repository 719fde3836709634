package heartbeat

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// Every guest of haresources that is not known is probed, that of the other node too, and no answer is an error.
func TestProbe(t *testing.T) {
	p := pair("local", "active")
	c := client(t, p)
	list := haresources + "node2 192.0.2.9 vmferry::db::timeout=300::migration_transport=ssh\n"
	if err := os.WriteFile(c.Haresources, []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	p.fail["/srv/mail.xml status"] = &exec.ExitError{} // it does not run here
	known := map[string]bool{"web": true}
	if err := c.Probe(t.Context(), func(guest string) bool { return known[guest] }); err != nil {
		t.Error(err)
	}
	want := []string{"vmferry /srv/mail.xml status",
		"vmferry /etc/libvirt/qemu/db.xml migration_transport=ssh timeout=300 status"}
	if !slices.Equal(p.ran, want) {
		t.Errorf("ran %q, want %q", p.ran, want)
	}
	p.fail["/srv/mail.xml status"] = exec.ErrNotFound
	if err := c.Probe(t.Context(), func(string) bool { return false }); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("without the script: %v", err)
	}
}
