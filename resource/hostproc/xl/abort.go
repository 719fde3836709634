package xl

import (
	"context"
	"fmt"
	"strconv"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// The child of libvirt's daemon in which libxl copies a guest's memory, and where its arguments stand: the program, the
// mode, the connection or file that the memory goes to, the one that answers come from, the domain's number, and flags.
//
// Source: run_helper of Xen's tools/libs/light/libxl_save_callout.c, and main of libxl_save_helper.c beside it.
const (
	saver      = "libxl-save-helper"
	saverMode  = 1
	saverDomID = 4
	modeSave   = "--save-domain" // to another node or to a file; a guest that arrives has --restore-domain
)

// daemons are libvirt's that move guests of Xen. A copy that xl itself makes is left to who began it.
var daemons = []string{"libvirtd", "virtxend"}

// Abort gives up the copy of a guest that libvirt makes, to another node or to a file. libxl is left to end it in order: it
// stops to note what the guest writes, and libvirt's call fails. Nothing is waited for. A guest that ran continues;
// one that was paused already, for the last part of its memory, stays paused as Halted reports, until Wake. An error
// says that nothing was given up: where none is under way, where the copy is done and only the hand-over is left, or
// where it is not known.
//
// It is what libxl does itself where the caller of its library gives an operation up (libxl_ao_abort), which libvirt
// never does: the helper gets SIGTERM, and has a handler that makes its next write fail, also one that hangs because the
// other side has died. Source: helper_stop of libxl_save_callout.c, save_signal_handler of libxl_save_helper.c.
func (h Host) Abort(ctx context.Context, name, uuid string) error {
	found, err := h.Find(ctx, name, uuid)
	if err != nil {
		return fmt.Errorf("abort the copy of guest %q: %w", name, err)
	}
	aborted := false
	for _, p := range found {
		copies, err := h.Procs.Helpers(ctx, saving(p))
		for _, c := range copies {
			if err := h.Procs.Terminate(c); err != nil {
				return fmt.Errorf("abort the copy of guest %q: %w", name, err)
			}
			aborted = true
		}
		if err != nil && !aborted {
			return fmt.Errorf("abort the copy of guest %q: %w", name, err)
		}
	}
	if !aborted {
		return fmt.Errorf("abort the copy of guest %q: none by libvirt is under way here", name)
	}
	return nil
}

// saving is what copies a domain.
func saving(domain hostproc.Process) hostproc.Helper {
	id := strconv.Itoa(domain.PID)
	return hostproc.Helper{Program: saver, Parents: daemons, Suits: func(args []string) bool {
		return len(args) > saverDomID && args[saverMode] == modeSave && args[saverDomID] == id
	}}
}
