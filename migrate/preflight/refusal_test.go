package preflight

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestRefusalText(t *testing.T) {
	r := &Refusal{CheckDisk, "x is missing", "mount it", libvirt.ErrConnect}
	if want := "pre-flight disk: x is missing: cannot reach libvirt (mount it)"; r.Error() != want {
		t.Errorf("%q, want %q", r.Error(), want)
	}
	if !errors.Is(fmt.Errorf("move: %w", r), libvirt.ErrConnect) {
		t.Error("the cause is lost")
	}
}
