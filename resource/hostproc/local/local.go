package local

import (
	"context"
	"errors"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/xl"
	"github.com/vmferry/vmferry/resource/observe"
)

// Processes finds and ends what runs guests. An answer without an error is a proof; an error means "cannot tell".
type Processes interface {
	observe.Processes
	// List returns what runs all guests of the hypervisor here.
	List(ctx context.Context) ([]hostproc.Process, error)
}

// Of is for the guests of the libvirt at uri, which is this node's.
func Of(uri string) Processes {
	if isXen(uri) {
		return xl.Host{}
	}
	return hostOf(uri)
}

// List is all that runs guests of the libvirts; each hypervisor is asked once. With an error some guests may be
// missing.
func List(ctx context.Context, uris ...string) ([]hostproc.Process, error) {
	return list(ctx, hostproc.Host.List, uris)
}

// ListAll is List with the helpers of guests of QEMU's, see ListAll of [hostproc.Host].
func ListAll(ctx context.Context, uris ...string) ([]hostproc.Process, error) {
	return list(ctx, hostproc.Host.ListAll, uris)
}

func list(ctx context.Context, qemus func(hostproc.Host, context.Context) ([]hostproc.Process, error), uris []string,
) ([]hostproc.Process, error) {
	asked := map[bool]bool{}
	var all []hostproc.Process
	var errs []error
	for _, uri := range uris {
		if asked[isXen(uri)] {
			continue
		}
		asked[isXen(uri)] = true
		var found []hostproc.Process
		var err error
		if _, isQEMU := Of(uri).(hostproc.Host); isQEMU {
			found, err = qemus(hostOf(uris...), ctx) // one look for the guests of all of QEMU's
		} else {
			found, err = Of(uri).List(ctx)
		}
		all, errs = append(all, found...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// Kill ends what runs one guest, which is from List, and returns nil only with the proof of its end: see Kill of
// [hostproc.Host] and of [xl.Host].
func Kill(ctx context.Context, p hostproc.Process, grace time.Duration) error {
	var w Processes = hostproc.Host{}
	if p.Domain {
		w = xl.Host{}
	}
	return w.Kill(ctx, p, grace)
}

func isXen(uri string) bool { return libvirt.DriverOf(uri).IsXen() }

// hostOf looks for the guests of libvirts of QEMU's. Those of a session are its user's.
func hostOf(uris ...string) hostproc.Host {
	h := hostproc.Host{System: !slices.ContainsFunc(uris, isSession)}
	for _, uri := range uris {
		if uid, named := hostproc.SessionUser(uri); named {
			h.Users = append(h.Users, uid)
		} else if isSession(uri) {
			h.Users = append(h.Users, os.Geteuid())
		}
	}
	return h
}

// isSession reports whether a libvirt is one that a user has for himself.
func isSession(uri string) bool {
	u, err := url.Parse(uri)
	return err != nil || u.Path == "/session" || u.Path == "/embed"
}

// SetDeps has the engine ask p about the guests of a move's source, which is this node.
func SetDeps(deps *migrate.Deps, p Processes) {
	deps.Gone = func(ctx context.Context, guest, uuid string) (bool, error) {
		found, err := p.Find(ctx, guest, uuid)
		return err == nil && len(found) == 0, err
	}
	if x, ok := p.(xl.Host); ok {
		deps.Halted, deps.Wake, deps.Abort = x.Halted, x.Wake, x.Abort
	}
}
