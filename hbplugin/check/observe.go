package check

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/guard/setup"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/elsewhere"
)

// firmwareTime bounds the look at the storage of one guest's firmware.
const firmwareTime = 5 * time.Second

// Units asks systemd about its units.
type Units interface {
	// Unit is what systemd knows of one of them; one that is not installed is no error.
	Unit(ctx context.Context, name string) (logind.Unit, error)
}

// Sources are who is asked beside the inventory.
type Sources struct {
	Path     func(name string) string // where a file of the system is
	Open     inventory.Opener
	Units    Units
	Run      command.Runner                                   // runs a program of the cluster manager's
	DelayMax func(ctx context.Context) (time.Duration, error) // logind's limit
}

// Observe asks everybody. o has what is known already.
func (s Sources) Observe(ctx context.Context, o *Observed) {
	for _, m := range o.Managers {
		if m.Err != nil {
			o.Peers = append(o.Peers, answer[[]elsewhere.Peer]{})
			continue
		}
		o.Peers = append(o.Peers, answered(managers.Ask(ctx, m.Peers)))
		if p := m.Pacemaker(); p != nil {
			o.CIB, o.Cmap = s.pacemaker(ctx, p.Configuration)
		}
	}
	o.Units = s.units(ctx, o.unitNames())
	o.Reach = s.reach(ctx, o)
	o.HaCf = s.read(haCf)
	o.Clock = s.clock(ctx)
	o.Mountinfo = s.read("/proc/self/mountinfo")
	o.DelayMax = answered(s.DelayMax(ctx))
	o.SaveDirs = s.saveDirs(o.Claims)
	o.Autostart = answered(s.autostart())
	o.Firmware = s.firmware(ctx, o.Guests)
	if o.usesTLS() {
		o.Certificates = s.certificates()
	}
}

func (s Sources) pacemaker(ctx context.Context,
	configuration func(context.Context) (cib.Config, error)) (conf *cib.Config, cmap *string) {
	if c, err := managers.Ask(ctx, configuration); err == nil { // else it does not answer, which is found elsewhere
		conf = &c
	}
	ask := func(ctx context.Context) (string, error) { return s.Run(ctx, "corosync-cmapctl") }
	if out, err := managers.Ask(ctx, ask); err == nil { // on a remote node there is no Corosync
		cmap = &out
	}
	return conf, cmap
}

// unitNames are the units of which the rules want to know.
func (o *Observed) unitNames() []string {
	names := []string{daemonUnit}
	for _, m := range o.Managers {
		names = append(names, m.String()+".service")
		if m.Pacemaker() != nil {
			names = append(names, remoteUnit)
		}
	}
	for uri := range o.Unanswered {
		for _, daemon := range daemonsOf(uri) {
			names = append(names, daemon+".socket", daemon+".service")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// units asks at once, as a systemd that hangs takes its whole time.
func (s Sources) units(ctx context.Context, names []string) map[string]answer[logind.Unit] {
	answers := make([]answer[logind.Unit], len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() { answers[i] = answered(s.Units.Unit(ctx, name)) })
	}
	wait.Wait()
	out := map[string]answer[logind.Unit]{}
	for i, name := range names {
		out[name] = answers[i]
	}
	return out
}

// reach asks each libvirt to which the guests would go, once.
func (s Sources) reach(ctx context.Context, o *Observed) []target {
	var out []target
	for _, node := range o.up() {
		for _, c := range o.Claims {
			to, err := c.Environ.Params.RouteTo(ctx, s.Run, node)
			t := target{node: node, uri: to.URI, resource: c.Resource, route: err}
			same := func(o target) bool { return o.node == node && o.uri == to.URI && (o.route == nil) == (err == nil) }
			if !slices.ContainsFunc(out, same) {
				out = append(out, t)
			}
		}
	}
	var wait sync.WaitGroup
	for i := range out {
		if t := &out[i]; t.route == nil {
			wait.Go(func() {
				t.err = s.Open.Ask(ctx, t.uri, func(ctx context.Context, h inventory.Host) error {
					_, err := h.Hostname(ctx)
					return err
				})
			})
		}
	}
	wait.Wait()
	return out
}

// read reads a file of the system; one that is not there is empty.
func (s Sources) read(name string) answer[string] {
	text, err := os.ReadFile(s.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return answer[string]{string(text), err}
}

func (s Sources) saveDirs(claims []inventory.Claim) map[string]saveDir {
	out := map[string]saveDir{}
	for _, c := range claims {
		if _, dir := saveDirOf(c); dir != "" {
			info, err := os.Stat(s.Path(dir))
			d := saveDir{missing: err != nil || !info.IsDir()}
			if !d.missing {
				d.exposed = resource.ExposedSaves(s.Path(dir), c.Environ.Params.Hypervisor,
					s.Path(c.Environ.Params.Config))
			}
			out[c.Resource] = d
		}
	}
	return out
}

// autostartDirs are where libvirt's drivers keep a link for each guest that they start themselves.
var autostartDirs = []string{"/etc/libvirt/qemu/autostart", "/etc/libvirt/libxl/autostart"}

func (s Sources) autostart() (names []string, err error) {
	for _, dir := range autostartDirs {
		entries, err := os.ReadDir(s.Path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return names, err
		}
		for _, e := range entries {
			if name, isXML := strings.CutSuffix(e.Name(), ".xml"); isXML {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

func (s Sources) firmware(ctx context.Context, guests []*inventory.Guest) (lost []lostFirmware) {
	for _, g := range guests {
		if g.Claim == nil || !g.IsActive() {
			continue
		}
		var text string
		err := s.Open.Ask(ctx, g.URI, func(ctx context.Context, h inventory.Host) (err error) {
			text, err = h.XML(ctx, g.Name)
			return err
		})
		if err != nil {
			continue // it ended meanwhile, or libvirt does not answer, which is found elsewhere
		}
		ctx, cancel := context.WithTimeout(ctx, firmwareTime)
		for _, f := range resource.LocalFirmware(ctx, text) {
			lost = append(lost, lostFirmware{g.Name, f})
		}
		cancel()
	}
	return lost
}

func (s Sources) certificates() *nodeCertificates {
	conf, err := pki.Read(s.Path(pki.ConfPath))
	dir := conf.Dir
	if dir == "" {
		dir = conf.Fallback
		if info, err := os.Stat(s.Path(pki.MigrateDir)); err == nil && info.IsDir() {
			dir = pki.MigrateDir
		}
	}
	files := append(conf.ReceiverNeeds(), conf.SenderNeeds()[1:]...)
	return &nodeCertificates{conf: err, dir: dir, files: files,
		flaws: pki.Judge(s.Path(dir), files, conf.User, time.Now())}
}

const (
	haCf       = "/etc/ha.d/ha.cf"
	daemonUnit = "vmferryd.service"
	// remoteUnit is what runs Pacemaker on a node that is no member of the cluster (pacemaker_remote).
	remoteUnit = "pacemaker_remote.service"
)

// Observed is all that the rules look at.
type Observed struct {
	*inventory.Inventory
	ConfigPath  string
	StandbyBy   string                 // who has put the node into standby
	Window      time.Duration          // the longest drain that is configured, 0 for none
	Predictions []inventory.Prediction // what becomes of the guests; empty where no manager runs

	Units        map[string]answer[logind.Unit] // by name
	Peers        []answer[[]elsewhere.Peer]     // of each manager; empty of one that does not answer
	Reach        []target                       // the libvirts to which guests would go
	CIB          *cib.Config                    // nil where Pacemaker does not run or did not answer
	Cmap         *string                        // what Corosync says of itself, nil where it does not run
	HaCf         answer[string]
	Mountinfo    answer[string]
	DelayMax     answer[time.Duration]
	Clock        clock
	SaveDirs     map[string]saveDir // by resource
	Autostart    answer[[]string]   // the guests that libvirt starts
	Firmware     []lostFirmware
	Certificates *nodeCertificates // nil where no guest needs them
	Guard        *setup.Observed   // nil where no guard is set up here
	Mirrors      *Mirrors          // nil where nothing is mirrored from here
}

// answer is what somebody said, or why they did not.
type answer[T any] struct {
	value T
	err   error
}

func answered[T any](value T, err error) answer[T] { return answer[T]{value, err} }

// target is one libvirt to which a guest would go.
type target struct {
	node, uri, resource string
	route               error // why there is no way there
	err                 error // why it did not answer
}

// saveDir is where a resource's guest is saved.
type saveDir struct {
	missing bool
	exposed error // why nothing is saved there
}

// lostFirmware is what of a guest's firmware is on this node alone.
type lostFirmware struct {
	guest string
	domainxml.Firmware
}

// nodeCertificates are those by which this node sends guests and takes them in.
type nodeCertificates struct {
	conf  error // why libvirt's configuration cannot be read
	dir   string
	files []string
	flaws pki.Flaws
}

// daemonsOf are the daemons that serve a libvirt: the modular one, and the monolithic one.
func daemonsOf(uri string) []string { return []string{libvirt.DriverOf(uri).Daemon, "libvirtd"} }

// up are the other nodes that can take guests.
func (o *Observed) up() (nodes []string) {
	for _, a := range o.Peers {
		if a.err == nil {
			nodes = append(nodes, hbplugin.Up(a.value)...)
		}
	}
	return nodes
}

// Others are the names of the other nodes that are known.
func (o *Observed) Others() (names []string) {
	for _, a := range o.Peers {
		for _, p := range a.value {
			names = append(names, p.Name)
		}
	}
	return names
}

// saveDirOf is the parameter that says where the guest is saved, and its value.
func saveDirOf(c inventory.Claim) (name, dir string) {
	if dir := c.Environ.Params.SaveDir; dir != "" {
		return "save_dir", dir
	}
	return "snapshot", c.Environ.Params.Snapshot
}
