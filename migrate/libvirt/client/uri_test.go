package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// libvirt itself runs the program that such a URI names.
func TestOpenRunsNoProgram(t *testing.T) {
	testConn(t) // or there is no libvirt to try it with
	dir := t.TempDir()
	mark, program := filepath.Join(dir, "ran"), filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n: > "+mark+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{
		"qemu+ext:///system?command=" + program,
		"qemu+EXT://node2/system?x=y;COMMAND=" + program,
		"qemu+ssh://node2/system?%63ommand=" + program,
		"qemu+ssh://node2/system?command%00=" + program,
	} {
		c, err := Open(t.Context(), uri)
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, libvirt.ErrConnect) || !strings.Contains(err.Error(), uri) {
			t.Errorf("%s: %v", uri, err)
		}
		if os.Remove(mark) == nil {
			t.Errorf("%s: the program ran", uri)
		}
	}
}

// The source's daemon would open the URI of the target, as root.
func TestMigrationToAProgramIsNotBegun(t *testing.T) {
	c := testConn(t)
	const uri = "qemu+ssh://node2/system?command=/tmp/x"
	for name, err := range map[string]error{
		"migrate":  c.MigrateToURI3(t.Context(), "test", uri, libvirt.MigrateParams{}),
		"rehearse": c.Rehearse(t.Context(), "test", uri, libvirt.MigrateParams{}),
	} {
		// The call ended, and nothing was begun: ErrConnect would leave that open.
		if err == nil || errors.Is(err, libvirt.ErrConnect) || !strings.Contains(err.Error(), `"command"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
