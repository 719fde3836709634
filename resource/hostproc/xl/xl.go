package xl

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/hostproc"
)

const (
	binary = "/usr/sbin/xl"
	// callTime bounds one call of xl: it hangs where xenstored does not answer.
	callTime = 10 * time.Second
	// lookAgain is the pause between two looks at a domain that is to end.
	lookAgain = 250 * time.Millisecond
)

// Host is this node's Xen. The zero value is the real one.
type Host struct {
	// Run runs xl with arguments and returns what it wrote to its standard output; nil is the program of
	// that name. It returns at the end of its context.
	Run func(ctx context.Context, args ...string) (string, error)
	// Procs is where what copies a guest is looked for.
	Procs hostproc.Host
}

// List returns the domains of all guests. With an error, which is [hostproc.ErrIncomplete], there may be others.
func (h Host) List(ctx context.Context) (all []hostproc.Process, err error) {
	out, err := h.call(ctx, "list", "-v")
	if err == nil {
		all, err = parse(out)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hostproc.ErrIncomplete, err)
	}
	return all, nil
}

// Find returns the domains of one guest, normally none or one: those of its UUID, which may be empty, else those
// of its name, also as xl changes it when it moves them. An answer of none without an error is a proof.
func (h Host) Find(ctx context.Context, name, uuid string) ([]hostproc.Process, error) {
	all, err := h.List(ctx)
	if err != nil {
		return nil, err
	}
	return match(all, name, uuid)
}

// Halted reports whether the guest is here and paused for a switchover.
func (h Host) Halted(ctx context.Context, name, uuid string) (bool, error) {
	found, err := h.Find(ctx, name, uuid)
	return slices.ContainsFunc(found, func(p hostproc.Process) bool { return p.Condition == hostproc.Halted }), err
}

// Wake resumes a guest here that Halted reports. It is for one that runs nowhere else, and that nobody
// may bring up elsewhere.
func (h Host) Wake(ctx context.Context, name, uuid string) error {
	found, err := h.Find(ctx, name, uuid)
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0].Condition != hostproc.Halted {
		return fmt.Errorf("resume guest %q: it is not paused here", name)
	}
	if _, err := h.call(ctx, "resume", strconv.Itoa(found[0].PID)); err != nil {
		return fmt.Errorf("resume guest %q: %w", name, err)
	}
	return nil
}

// Shutdown asks the guest in the domain to shut down, and returns nil when the domain is proven to be gone: what
// is left of one that has shut down is destroyed, as without libvirt nobody else does. mode is "acpi" for the power
// button, and else the guest is asked through Xen. At the end of ctx the guest may be on its way down.
func (h Host) Shutdown(ctx context.Context, p hostproc.Process, mode string) error {
	args := []string{"shutdown", "-F", strconv.Itoa(p.PID)}
	if mode == "acpi" {
		args = []string{"trigger", strconv.Itoa(p.PID), "power"}
	}
	return h.end(ctx, p, args, func(now hostproc.Process) bool { return now.Condition == hostproc.Ending })
}

// Kill destroys the domain, and returns nil only with the proof that it is gone. There is nothing between asking the
// guest, which Shutdown does, and that: grace is not used.
func (h Host) Kill(ctx context.Context, p hostproc.Process, _ time.Duration) error {
	return h.end(ctx, p, nil, func(hostproc.Process) bool { return true })
}

// end asks once, where the domain is there and alive, and destroys it once ripe says so, until it is gone.
func (h Host) end(ctx context.Context, p hostproc.Process, ask []string, ripe func(hostproc.Process) bool) error {
	destroyed := false
	for {
		now, there, err := h.same(ctx, p)
		switch {
		case err != nil:
			return err
		case !there:
			return nil
		case ask != nil && now.Condition == hostproc.Alive:
			if _, err := h.call(ctx, ask...); err != nil {
				return err
			}
			ask = nil
		case !destroyed && ripe(now):
			if _, err := h.call(ctx, "destroy", strconv.Itoa(p.PID)); err != nil {
				return err
			}
			destroyed = true
		}
		if wait.For(ctx, lookAgain) != nil {
			return fmt.Errorf("wait for the end of %v of guest %q: %w", p, p.Name, context.Cause(ctx))
		}
	}
}

// same looks for exactly the domain that was listed: the UUID tells it from one that got its number.
func (h Host) same(ctx context.Context, p hostproc.Process) (now hostproc.Process, there bool, err error) {
	all, err := h.List(ctx)
	i := slices.IndexFunc(all, func(q hostproc.Process) bool { return q.PID == p.PID && q.UUID == p.UUID })
	if i < 0 {
		return hostproc.Process{}, false, err
	}
	return all[i], true, nil
}

// call is one call of xl, bounded.
func (h Host) call(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	run := h.Run
	if run == nil {
		run = execute
	}
	out, err := run(ctx, args...)
	if err != nil {
		return "", fmt.Errorf("xl %s: %w", args[0], err)
	}
	return out, nil
}

// execute runs xl. The error has the last line that it wrote to its standard error.
func execute(ctx context.Context, args ...string) (string, error) {
	out, errs, err := command.How{}.Run(ctx, binary, args...)
	if err != nil {
		return "", command.Explain(string(errs), err)
	}
	return string(out), nil
}

// The child of libvirt's daemon in which libxl copies a guest's memory, and where its arguments are: the program, the
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

// Abort gives up the copy of a guest that libvirt makes, to another node or to a file. libxl is left to end it in
// order: it stops to note what the guest writes, and libvirt's call fails. Nothing is waited for. A guest that ran
// continues; one that was paused already, for the last part of its memory, stays paused as Halted reports, until Wake.
// An error says that nothing was given up: where none is under way, where the copy is done and only the hand-over is
// left, or where it is not known.
//
// It is what libxl does itself where the caller of its library gives an operation up (libxl_ao_abort), which libvirt
// never does: the helper gets SIGTERM, and has a handler that makes its next write fail, also one that hangs because
// the other side has died. Source: helper_stop of libxl_save_callout.c, save_signal_handler of libxl_save_helper.c.
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
