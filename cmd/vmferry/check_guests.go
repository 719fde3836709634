package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource"
)

// checkLibvirt: does each libvirt of this node that is in use answer?
func checkLibvirt(ctx context.Context, k *checker) {
	for _, uri := range k.inv.uris {
		err := k.inv.deaf[uri]
		if err == nil {
			n := 0
			for _, g := range k.inv.guests {
				if g.URI == uri && g.active() {
					n++
				}
			}
			k.add("libvirt", uri, ok, fmt.Sprintf("answers, %s active", plural(n, "guest")), "")
			continue
		}
		k.add("libvirt", uri, problem, "does not answer: "+oneLine(err), k.startLibvirt(ctx, uri))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// startLibvirt says how to get a libvirt to answer: by the daemon whose socket is
// enabled, else by the monolithic one, else by the modular one. One that is active
// and mute hangs.
func (k *checker) startLibvirt(ctx context.Context, uri string) string {
	modular := libvirt.DriverOf(uri).Daemon
	start := ""
	for _, name := range []string{modular, "libvirtd"} {
		socket, err := k.units.Unit(ctx, name+".socket")
		if err != nil {
			return "type: systemctl status libvirtd " + modular
		}
		service, err := k.units.Unit(ctx, name+".service")
		switch {
		case err == nil && service.Active:
			return "type: systemctl restart " + name + " (guests go on running)"
		case socket.Loaded && socket.Enabled:
			return "type: systemctl start " + name + ".socket"
		case socket.Loaded:
			start = name
		}
	}
	if start == "" {
		return "libvirt's daemon is not installed: type: apt-get install libvirt-daemon-system"
	}
	return "type: systemctl enable --now " + start + ".socket"
}

// checkReach: does libvirt on each node that is up answer, over the transport
// that the guests' resources name?
func checkReach(ctx context.Context, k *checker) {
	targets := k.targets(ctx)
	answers := make([]error, len(targets))
	var wait sync.WaitGroup
	for i, t := range targets {
		if t.err != nil {
			continue
		}
		wait.Go(func() {
			answers[i] = k.ask(ctx, t.uri, func(ctx context.Context, h host) error {
				_, err := h.Hostname(ctx)
				return err
			})
		})
	}
	wait.Wait()
	for i, t := range targets {
		switch {
		case t.err != nil:
			k.add("reach", t.node, problem, oneLine(t.err), "set the parameter remoteuri of resource "+t.resource)
		case answers[i] != nil:
			k.add("reach", t.node, problem, fmt.Sprintf("%s does not answer: %s", t.uri, oneLine(answers[i])), howToReach(t.uri, t.node))
		case libvirt.Unverified(t.uri) != "":
			k.add("reach", t.node, warning, t.uri+" answers, and whether it is that node is not verified",
				"remove "+libvirt.Unverified(t.uri)+" from the URIs of resource "+t.resource)
		default:
			k.add("reach", t.node, ok, t.uri+" answers", "")
		}
	}
}

type target struct {
	node, uri, resource string
	err                 error
}

// targets are where the guests would go: each libvirt once.
func (k *checker) targets(ctx context.Context) []target {
	var out []target
	for _, node := range k.peers {
		for i := range k.inv.claims {
			cl := &k.inv.claims[i]
			to, err := resource.RouteTo(ctx, cl.env.Params, k.program, node)
			t := target{node, to.URI, cl.resource, err}
			same := func(o target) bool { return o.node == node && o.uri == to.URI && (o.err == nil) == (err == nil) }
			if !slices.ContainsFunc(out, same) {
				out = append(out, t)
			}
		}
	}
	return out
}

// howToReach says what a transport needs at the other end.
func howToReach(uri, node string) string {
	scheme, _, _ := strings.Cut(uri, "://")
	_, transport, _ := strings.Cut(scheme, "+")
	switch transport {
	case "ssh":
		return "as root, type: " + shellword.Line("ssh", node, "true") + " (it must ask for no password); and on " + node + ": systemctl status libvirtd virtqemud"
	case "tcp":
		return "on " + node + ", type: systemctl enable --now libvirtd-tcp.socket (modular daemons: virtproxyd-tcp.socket)"
	case "", "tls":
		return "on " + node + ", type: systemctl enable --now libvirtd-tls.socket (modular daemons: virtproxyd-tls.socket), with certificates; or set the resources' migration_transport"
	}
	return "see that libvirt on " + node + " listens for " + uri
}

// checkResources: does each guest's configuration allow that it is moved live? Those that are
// elsewhere count too: they may come here.
func checkResources(_ context.Context, k *checker) {
	for i := range k.inv.claims {
		cl := &k.inv.claims[i]
		bad := len(k.findings)
		for _, p := range cl.env.Problems {
			if slices.Contains(cl.ruled, p.Param) {
				continue // a rule may set it right
			}
			k.add("resource", cl.resource, problem, "parameter "+p.Param+": "+p.Err.Error(), "correct it")
		}
		if cl.manager == managerPacemaker {
			k.checkMeta(cl)
		}
		k.checkSaveDir(cl)
		if cl.guessed {
			k.add("resource", cl.resource, warning, fmt.Sprintf("its file %q cannot be read on this node", cl.env.Params.File()), "put the file on every node, or on shared storage")
		}
		if len(k.findings) == bad {
			k.add("resource", cl.resource, ok, "its configuration allows a live migration", "")
		}
	}
}

// checkSaveDir: can the guest be saved from here?
func (k *checker) checkSaveDir(cl *claim) {
	name, dir := "save_dir", cl.env.Params.SaveDir
	if dir == "" {
		name, dir = "snapshot", cl.env.Params.Snapshot
	}
	if dir == "" {
		return
	}
	if info, err := os.Stat(k.path(dir)); err != nil || !info.IsDir() {
		k.add("resource", cl.resource, problem, fmt.Sprintf("its %s %q is no directory on this node", name, dir), "mount the storage that all nodes share there, or create it")
	} else if err := resource.ExposedSaves(k.path(dir), cl.env.Params.Hypervisor, k.path(cl.env.Params.Config)); err != nil {
		k.add("resource", cl.resource, problem, fmt.Sprintf("it is not saved to its %s: %v", name, err), "")
	}
}

// checkGuests: what becomes of each guest of this node when the node goes into standby, by the manager's and
// the target's word?
func checkGuests(ctx context.Context, k *checker) {
	if len(k.inv.managers) == 0 {
		return // said by checkManager
	}
	for _, f := range k.foretell(ctx, k.inv) {
		if !f.Fate.KeepsRunning() {
			k.notLive = append(k.notLive, f.guest.Name)
		}
		cl := f.guest.Claim
		if cl == nil {
			continue // said by checkStrays
		}
		if f.Remedy == "" && f.guest.View != nil && f.guest.View.Stuck != "" {
			f.Remedy = k.unstick(cl, f.guest.View.Stuck)
		}
		k.findings = append(k.findings, finding{Check: "guest", About: f.guest.Name, Grade: gradeOf(f.Fate, cl.pinned()),
			Found: verdict.Words(f.Verdict), Remedy: f.Remedy, Verdict: &f.Verdict})
	}
}

// gradeOf is how a verdict is graded: a guest that ends up nowhere, or of which nobody knows, is a problem, unless
// its operator has pinned it.
func gradeOf(f hbplugin.Fate, pinned bool) grade {
	switch {
	case f.KeepsRunning():
		return ok
	case f == hbplugin.Restarts, f == hbplugin.Stays, f == hbplugin.Stops && pinned:
		return warning
	}
	return problem
}

// pinned tells whether the resource says itself that its guest is never moved live.
func (cl *claim) pinned() bool {
	said, set := cl.meta["allow-migrate"]
	return !cl.env.Params.MayUse(ladder.Live) || set && !cib.Bool(said, true)
}

// checkFirmware: does what a guest's firmware keeps (vTPM, UEFI's variables) follow it when it is started elsewhere?
func checkFirmware(ctx context.Context, k *checker) {
	for _, g := range k.inv.guests {
		if g.Claim == nil || !g.active() {
			continue
		}
		var text string
		err := k.ask(ctx, g.URI, func(ctx context.Context, h host) (err error) {
			text, err = h.XML(ctx, g.Name)
			return err
		})
		if err != nil {
			continue // it ended meanwhile, or libvirt is mute: said by checkLibvirt
		}
		ctx, cancel := context.WithTimeout(ctx, firmwareTime)
		for _, f := range resource.LocalFirmware(ctx, text) {
			found := fmt.Sprintf("its %s is on this node alone: %s; a live migration takes it along", f.Device, f.Lost)
			k.add("firmware", g.Name, warning, found, f.Advice)
		}
		cancel()
	}
}

// firmwareTime bounds the look at the storage of one guest's firmware.
const firmwareTime = 5 * time.Second

// unstick is how a manager is brought to move a guest that it keeps.
func (k *checker) unstick(cl *claim, why string) string {
	switch {
	case cl.manager != managerPacemaker:
		return "start heartbeat on the other node"
	case why == "blocked":
		return "type: " + shellword.Line("crm_resource", "--resource", cl.resource, "--cleanup")
	}
	return "see that maintenance-mode is off, then type: " +
		shellword.Line("crm_resource", "--resource", cl.resource, "--meta", "--set-parameter", "is-managed", "--parameter-value", "true")
}

// leastMove is the least time that a migration should be given: Pacemaker's own
// default of 20 s moves no guest of some gigabytes, and a migration that is cut
// short ends in a restart.
const leastMove = time.Minute

func (k *checker) checkMeta(cl *claim) {
	live := cl.env.Params.MayUse(ladder.Live)
	known := !slices.Contains(cl.ruled, "allow-migrate")
	switch migrates := cib.Bool(cl.meta["allow-migrate"], false); {
	case migrates && !live:
		k.add("resource", cl.resource, warning, "Pacemaker tries to migrate it, which its ladder does not name", "add live to its ladder, or set its meta attribute allow-migrate to false")
	case cl.pinned() && live:
		k.add("resource", cl.resource, warning, "is never moved live: allow-migrate is false", "if that is not meant, type: "+allowMigrate(cl.resource))
	case !migrates && live && known:
		k.add("resource", cl.resource, problem, "is stopped and started elsewhere, and not moved live: allow-migrate is not set", "type: "+allowMigrate(cl.resource))
	}
	limit, known := pacemakerTime(cmp.Or(cl.timeouts["migrate_to"], "20s"))
	if known && limit < leastMove && !slices.Contains(cl.ruled, "migrate_to") {
		k.add("resource", cl.resource, warning, fmt.Sprintf("its migration may take %s only, and what takes longer ends in a restart", limit),
			"give its operation migrate_to a timeout of 120s or more")
	}
}

// pacemakerTime reads the spans that Pacemaker writes: "90", "90s", "2min", "1500ms".
func pacemakerTime(text string) (time.Duration, bool) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	n, err := strconv.ParseUint(digits, 10, 32)
	unit, known := map[string]time.Duration{"": time.Second, "s": time.Second, "sec": time.Second, "ms": time.Millisecond, "msec": time.Millisecond,
		"m": time.Minute, "min": time.Minute, "h": time.Hour, "hr": time.Hour}[strings.ToLower(strings.TrimSpace(text[len(digits):]))]
	return time.Duration(n) * unit, err == nil && known
}

// autostartDirs are where libvirt's drivers keep a link for each guest that they start themselves.
var autostartDirs = []string{"/etc/libvirt/qemu/autostart", "/etc/libvirt/libxl/autostart"}

// checkAutostart: does libvirt start a guest that is the cluster's? Then it may run on two nodes after a boot.
func checkAutostart(_ context.Context, k *checker) {
	found := false
	for _, dir := range autostartDirs {
		entries, err := os.ReadDir(k.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.add("autostart", "", warning, "cannot tell which guests libvirt starts: "+err.Error(), "run this as root")
			return
		}
		for _, e := range entries {
			name, isXML := strings.CutSuffix(e.Name(), ".xml")
			if !isXML || k.inv.claim(func(cl claim) bool { return cl.guest == name }) == nil {
				continue
			}
			found = true
			k.add("autostart", name, problem, "libvirt starts this guest at boot, and so does the cluster: it may run twice", "type: virsh autostart --disable "+shellword.Operands(name))
		}
	}
	if !found {
		k.add("autostart", "", ok, "libvirt starts no guest of the cluster's", "")
	}
}

// checkStrays: is there a guest that no manager has? It is not moved when the
// node goes down.
func checkStrays(_ context.Context, k *checker) {
	for _, g := range k.inv.guests {
		switch {
		case k.inv.unsure == nil && g.Claim == nil && g.here() && !g.Incoming:
			k.add("guest", g.Name, warning, "runs here, and no cluster manager has it: a drain leaves it behind",
				"make it a resource, or before the node goes down type: vmferry migrate "+shellword.Operands(g.Name, "NODE"))
		case g.active() && g.Libvirt.State == libvirt.Paused:
			k.add("guest", g.Name, warning, fmt.Sprintf("is paused (%s)", g.Libvirt.Reason), "see why, then type: virsh resume "+shellword.Operands(g.Name))
		case g.active() && g.Process == 0 && k.inv.blind == nil && strings.HasPrefix(g.URI, "qemu"):
			k.add("guest", g.Name, problem, "libvirt says that it is active, and it has no process here",
				"restart libvirt's daemon, then type: virsh domstate --reason "+shellword.Operands(g.Name))
		case g.Noted && !g.here() && len(k.inv.deaf) == 0:
			k.add("guest", g.Name, warning, "was noted as running here, and is not", "see the cluster manager's status; the next monitor settles it")
		}
	}
	if k.inv.blind != nil {
		k.add("guest", "", problem, "the processes of this node cannot all be seen: "+oneLine(k.inv.blind), "run this as root")
	}
}

// checkPeers: is there a node that can take the guests?
func checkPeers(ctx context.Context, k *checker) {
	for _, m := range k.inv.managers {
		if m.err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, managerTime)
		peers, err := m.Peers(ctx)
		cancel()
		if err != nil {
			k.add("peers", "", problem, "cannot tell which nodes there are: "+oneLine(err), "type: systemctl status "+m.String())
			continue
		}
		up := 0
		for _, p := range peers {
			if p.State == resource.PeerUp {
				up++
				k.peers = append(k.peers, p.Name)
				k.add("peers", p.Name, ok, "is up", "")
			}
		}
		if up == 0 {
			k.add("peers", "", problem, fmt.Sprintf("none of the %s is up: there is nowhere to go", plural(len(peers), "other node")),
				"on another node, type: systemctl start "+m.String())
		}
	}
}
