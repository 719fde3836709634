package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/local"
)

// world is a node and its cluster as files below one directory, which scripts
// write and read:
//
//	proc/N/status     Pacemaker runs while it says so
//	nodes             lines "NAME [offline|standby]"; the first is this node
//	places            lines "RESOURCE NODE [pending|blocked]": where Pacemaker has them; the node - is none
//	cib.xml           its configuration
//	cmap              what Corosync says of itself; without the file it does not run
//	stubborn          exists: Pacemaker moves nothing
//	busy              exists: and never settles
//	forecast.json     verdicts: what it would do; without the file each guest that is not blocked moves live
//	forecast.hangs    exists: it gives no answer, and notes forecast.asked
//	forecast.none     exists: it is a manager that does not say
//	happens           lines "RESOURCE moved|lost|restarted|rebooted|stopped|left": what a drain does with it; without one it is moved
//	calls             each program that was run
//	hosts.json        what each libvirt knows, by URI
//	processes         lines "GUEST PID"
//	units.json        what systemd knows
//	delay             logind's limit
//	pace              how long a migration takes
//	copying           exists once one has begun
//	answer            exists: there is a terminal, at which the operator types that
//	guard.json        what the guard answers
//	mirror.json       what the mirror's daemon answers
//	ssh.fails         exists: no node can be logged in on
//	late              by how much the clocks of the other nodes are
//	chronyc           what chronyc says; without the file chrony does not run
type world string

func newWorld() *machine {
	w := world(os.Getenv("NODE"))
	m := &machine{
		root: string(w), stateDir: w.file("state"), slots: slot.Pool{Dir: w.file("slots")}, run: w.run,
		open: w.open, processes: w.processes, witness: func(string) local.Processes { return alone{w} }, units: w,
		delayMax: w.delayMax,
		forecast: w.forecast,
		poll:     20 * time.Millisecond, lines: time.Minute,
	}
	if _, err := os.Stat(w.file("answer")); err == nil {
		m.answer = func() (string, error) { return w.text("answer"), nil }
	}
	return m
}

func (w world) file(name string) string { return filepath.Join(string(w), name) }

func (w world) text(name string) string {
	text, err := os.ReadFile(w.file(name))
	if err != nil {
		return ""
	}
	return string(text)
}

func (w world) write(name, text string) {
	if err := os.WriteFile(w.file(name), []byte(text), 0o644); err != nil {
		panic(err)
	}
}

// note adds a line to calls; programs may run at the same time.
func (w world) note(line string) {
	f, err := os.OpenFile(w.file("calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
}

func (w world) lines(name string) [][]string {
	var out [][]string
	for line := range strings.Lines(w.text(name)) {
		if f := strings.Fields(line); len(f) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// run is every program of the cluster managers.
func (w world) run(ctx context.Context, program string, args ...string) (string, error) {
	out, err := w.answer(ctx, program, args)
	return string(out), err
}

func (w world) answer(ctx context.Context, program string, args []string) ([]byte, error) {
	name := filepath.Base(program)
	w.note(name + " " + strings.Join(args, " "))
	switch name {
	case "crm_node":
		return []byte(w.lines("nodes")[0][0] + "\n"), nil
	case "crm_mon":
		return w.monitor()
	case "cibadmin":
		if w.text("cib.xml") == "" {
			return nil, errors.New("cibadmin: exit status 102: Could not connect")
		}
		return []byte(w.text("cib.xml")), nil
	case "crm_attribute":
		return nil, w.attribute(args)
	case "crm_resource":
		return nil, w.resource(ctx, args)
	case "ssh":
		if w.text("ssh.fails") != "" {
			return nil, errors.New("ssh: exit status 255: root@n2: Permission denied (publickey).")
		}
		late, _ := time.ParseDuration(strings.TrimSpace(w.text("late")))
		return []byte(time.Now().Add(-late).Format(time.RFC3339Nano) + "\n"), nil
	case "chronyc":
		if w.text("chronyc") == "" {
			return nil, errors.New("chronyc: exit status 1: 506 Cannot talk to daemon")
		}
		return []byte(w.text("chronyc")), nil
	case "corosync-cmapctl":
		if w.text("cmap") == "" {
			return nil, errors.New("corosync-cmapctl: exit status 1: Failed to initialize the cmap API. Error CS_ERR_LIBRARY")
		}
		return []byte(w.text("cmap")), nil
	case "cl_status":
		return []byte(w.text("cl_status/" + strings.Join(args, "-"))), nil
	case "hb_standby":
		w.write("cl_status/rscstatus", "none\n")
		w.carry("web", "n2", "migrated")
		return nil, nil
	case "hb_takeover":
		w.write("cl_status/rscstatus", "local\n")
		return nil, nil
	}
	return nil, fmt.Errorf("%s: no such program", program)
}

func (w world) standby() bool { _, err := os.Stat(w.file("standby")); return err == nil }

// monitor is crm_mon; at each look one guest leaves a node in standby, and one
// that was requested arrives.
func (w world) monitor() ([]byte, error) {
	own := w.lines("nodes")[0][0]
	if w.text("crm_mon.fails") != "" {
		return nil, errors.New("crm_mon: exit status 102: Not connected")
	}
	var b strings.Builder
	b.WriteString("<pacemaker-result><nodes>")
	for _, n := range w.lines("nodes") {
		fmt.Fprintf(&b, `<node name="%s" type="member" online="%t" unclean="false" pending="false" standby="%t"/>`,
			n[0], !slices.Contains(n, "offline"), slices.Contains(n, "standby") || n[0] == own && w.standby())
	}
	b.WriteString("</nodes><resources>")
	for _, p := range w.lines("places") {
		pending := ""
		if slices.Contains(p, "pending") {
			pending = ` pending="Migrating"`
		}
		node := ""
		if p[1] != "-" {
			node = `<node name="` + p[1] + `"/>`
		}
		fmt.Fprintf(&b, `<resource id="%s" resource_agent="ocf:vmferry:Domain" managed="true" blocked="%t" failed="false"%s>%s</resource>`,
			p[0], slices.Contains(p, "blocked"), pending, node)
	}
	b.WriteString(`</resources><status code="0" message="OK"/></pacemaker-result>`)
	w.manage(own)
	return []byte(b.String()), nil
}

// manage is what Pacemaker does between two looks.
func (w world) manage(own string) {
	if _, err := os.Stat(w.file("stubborn")); err == nil {
		return
	}
	asked := strings.Fields(w.text("asked"))
	moved := false
	var places strings.Builder
	for _, p := range w.lines("places") {
		to := ""
		switch {
		case moved:
		case len(asked) == 2 && p[0] == asked[0] && p[1] != asked[1]:
			to = asked[1]
		case w.standby() && p[1] == own && !slices.Contains(p, "blocked"):
			to = w.lines("nodes")[1][0]
		}
		if to != "" {
			p[1], moved = w.leave(p[0], to), true
		}
		places.WriteString(strings.Join(p, " ") + "\n")
	}
	w.write("places", places.String())
}

// leave takes a guest off this node, and returns where it is then.
func (w world) leave(resource, to string) string {
	guest := strings.TrimPrefix(resource, "r-")
	_ = os.Remove(w.file("run/vmferry/guests/" + guest + ".json")) // the agent answers for it no more
	happens := "moved"
	for _, line := range w.lines("happens") {
		if line[0] == resource {
			happens = line[1]
		}
	}
	switch happens {
	case "left":
		return "-"
	case "stopped":
		w.carry(guest, "", "")
		w.record(guest, "", record.Ended, "no node may run it")
		return "-"
	case "restarted":
		w.carry(guest, to, "booted")
		w.record(guest, to, record.Ended, "the target does not see its image")
	case "rebooted": // by an agent that keeps no record
		w.carry(guest, to, "booted")
	case "lost": // by an agent that keeps no record
		w.carry(guest, to, "migrated")
	default:
		if w.text("restarts") != "" {
			w.carry(guest, to, "booted")
			w.record(guest, to, record.Stayed, "the link broke")
			break
		}
		w.carry(guest, to, "migrated")
		w.record(guest, to, record.Moved, "")
	}
	return to
}

// carry changes what the libvirts of both nodes know; the empty node is nowhere.
func (w world) carry(guest, to, reason string) {
	here, herr := w.open(context.Background(), "qemu:///system")
	there, terr := w.open(context.Background(), "qemu+tcp://"+to+"/system")
	hosts.Lock()
	defer hosts.Unlock()
	if herr == nil && to == "" {
		delete(here.(*fakeHost).Guests, guest)
	}
	if herr != nil || terr != nil {
		return
	}
	s := here.(*fakeHost).Guests[guest]
	s.Reason = reason
	delete(here.(*fakeHost).Guests, guest)
	there.(*fakeHost).Guests[guest] = s
}

// record is what the agent would leave.
func (w world) record(guest, to string, outcome record.Outcome, why string) {
	r := record.Record{Schema: record.Schema, Guest: guest, To: to, Started: time.Now(), Ended: time.Now(),
		Outcome: outcome, Error: why}
	switch pause := 21.5; outcome {
	case record.Moved:
		r.PauseMS = &pause
	case record.Ended:
		r.Rung = ladder.Shutdown
	}
	if err := history.AppendRecord(w.file("state/migrations.jsonl"), r); err != nil {
		panic(err)
	}
}

func (w world) attribute(args []string) error {
	if w.text("crm_attribute.fails") != "" {
		return errors.New("crm_attribute: exit status 1: no quorum")
	}
	if args[len(args)-1] == "--delete" {
		return os.Remove(w.file("standby"))
	}
	w.write("standby", "")
	return nil
}

func (w world) resource(ctx context.Context, args []string) error {
	switch {
	case w.text("crm_resource.fails") != "":
		return errors.New("crm_resource: exit status 1: no such node")
	case slices.Contains(args, "--move"):
		w.write("asked", args[1]+" "+args[4])
	case slices.Contains(args, "--clear"):
		return os.Remove(w.file("asked"))
	case slices.Contains(args, "--wait"):
		return w.settle(ctx)
	}
	return nil
}

// forecast is what the manager would do.
func (w world) forecast(ctx context.Context, m hbplugin.Cluster) ([]hbplugin.Verdict, error) {
	var out []hbplugin.Verdict
	if w.text("forecast.none") != "" {
		return nil, fmt.Errorf("%s does not say beforehand what it would do", m)
	}
	if w.text("forecast.hangs") != "" {
		w.write("forecast.asked", "")
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if text := w.text("forecast.json"); text != "" {
		return out, json.Unmarshal([]byte(text), &out)
	}
	if w.text("crm_mon.fails") != "" {
		return nil, errors.New("crm_simulate: exit status 102: Not connected")
	}
	nodes := w.lines("nodes")
	for _, p := range w.lines("places") {
		v := hbplugin.Verdict{Resource: p[0], Fate: hbplugin.MovesLive, To: nodes[1][0]}
		if slices.Contains(p, "blocked") {
			v = hbplugin.Verdict{Resource: p[0], Fate: hbplugin.Stays, Why: "it is blocked"}
		}
		if p[1] == nodes[0][0] {
			out = append(out, v)
		}
	}
	return out, nil
}

// settle returns once Pacemaker has nothing to do.
func (w world) settle(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		asked := strings.Fields(w.text("asked"))
		arrived := func(p []string) bool { return len(asked) == 2 && p[0] == asked[0] && p[1] == asked[1] }
		_, err := os.Stat(w.file("stubborn"))
		if w.text("busy") == "" && (err == nil || len(asked) == 0 || slices.ContainsFunc(w.lines("places"), arrived)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// alone is the world as a witness.
type alone struct{ world }

func (a alone) List(ctx context.Context) ([]hostproc.Process, error) { return a.processes(ctx) }

func (a alone) Find(ctx context.Context, name, _ string) ([]hostproc.Process, error) {
	all, err := a.processes(ctx)
	return slices.DeleteFunc(all, func(p hostproc.Process) bool { return p.Name != name }), err
}

func (a alone) Kill(context.Context, hostproc.Process, time.Duration) error {
	return errors.New("nobody here kills")
}

func (w world) processes(context.Context, ...string) ([]hostproc.Process, error) {
	var out []hostproc.Process
	for _, p := range w.lines("processes") {
		pid, err := strconv.Atoi(p[1])
		if err != nil {
			return nil, hostproc.ErrIncomplete
		}
		out = append(out, hostproc.Process{PID: pid, Name: p[0]})
	}
	return out, nil
}

// needed are the units that guests need until they have left.
var needed = []string{
	"libvirtd.service", "libvirtd.socket", "virtqemud.service", "virtqemud.socket",
	"virt-guest-shutdown.target", "systemd-machined.service", "network-online.target", "remote-fs.target",
}

func (w world) Unit(_ context.Context, name string) (logind.Unit, error) {
	known := map[string]logind.Unit{}
	if err := json.Unmarshal([]byte(w.text("units.json")), &known); err != nil {
		return logind.Unit{}, errors.New("reach systemd: no such file")
	}
	u := known[name]
	if slices.Equal(u.After, []string{"all"}) {
		u.After = append(slices.Clone(needed), "pacemaker.service", "pacemaker_remote.service", "heartbeat.service")
	}
	return u, nil
}

func (w world) delayMax(context.Context) (time.Duration, error) {
	return time.ParseDuration(strings.TrimSpace(w.text("delay")))
}

// fakeHost is one libvirt.
type fakeHost struct {
	inventory.Host // for what no script comes to
	w              world
	uri            string

	Hostname_ string                    `json:"hostname"`
	Guests    map[string]libvirt.Status `json:"guests"`
	Free      uint64                    `json:"free"`
	CDROMs    map[string]string         `json:"cdroms"`  // by guest: the image in its drive
	TPMs      []string                  `json:"tpms"`    // guests that have one
	Missing   []string                  `json:"missing"` // images that it does not see
}

// hosts are opened once in a process: what a migration changes is seen by all.
var hosts = struct {
	sync.Mutex
	byURI   map[string]*fakeHost
	watch   map[string][]func(libvirt.Event)
	aborted chan struct{}
}{byURI: map[string]*fakeHost{}, watch: map[string][]func(libvirt.Event){}, aborted: make(chan struct{})}

func (w world) open(_ context.Context, uri string) (inventory.Host, error) {
	hosts.Lock()
	defer hosts.Unlock()
	if h := hosts.byURI[uri]; h != nil {
		return h, nil
	}
	all := map[string]*fakeHost{}
	if err := json.Unmarshal([]byte(w.text("hosts.json")), &all); err != nil {
		panic(err)
	}
	h := all[uri]
	if h == nil {
		return nil, &libvirt.Error{Op: "open", URI: uri, Message: "Connection refused", Kind: libvirt.ErrConnect}
	}
	h.w, h.uri = w, uri
	hosts.byURI[uri] = h
	return h, nil
}

func (h *fakeHost) Close() error                                { return nil }
func (h *fakeHost) FreeMemory(context.Context) (uint64, error)  { return h.Free << 20, nil }
func (h *fakeHost) StartPostCopy(context.Context, string) error { return libvirt.ErrUnsupported }
func (h *fakeHost) Resume(context.Context, string) error        { return nil }
func (h *fakeHost) Capabilities(context.Context) (string, error) {
	return capabilities(h.Hostname_), nil
}
func (h *fakeHost) SetMaxDowntime(context.Context, string, time.Duration) error {
	return nil
}

func (h *fakeHost) DiskVisible(_ context.Context, d libvirt.DiskSource) (libvirt.Visible, error) {
	if slices.Contains(h.Missing, d.Path) {
		return libvirt.VisibleNo, nil
	}
	return libvirt.VisibleYes, nil
}

func (h *fakeHost) Room(context.Context, string) (uint64, error)     { return 0, nil }
func (h *fakeHost) CreateImage(context.Context, libvirt.Image) error { return nil }
func (h *fakeHost) RemoveImage(context.Context, string, libvirt.Mark) error {
	return nil
}

func (h *fakeHost) ReadImage(context.Context, string, int) ([]byte, error) {
	return nil, nil
}

func (h *fakeHost) DiskSize(context.Context, string, string) (libvirt.DiskSize, error) {
	return libvirt.DiskSize{}, nil
}

func (h *fakeHost) CompletedJob(context.Context, string) (libvirt.JobStats, error) {
	return libvirt.JobStats{Processed: 300 << 20, Iteration: 2}, nil
}

func (h *fakeHost) XML(_ context.Context, guest string) (string, error) {
	devices := ""
	if slices.Contains(h.TPMs, guest) {
		devices = `<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>`
	}
	if image := h.CDROMs[guest]; image != "" {
		devices = `<devices><disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='` + image +
			`'/><target dev='sda' bus='sata'/><readonly/></disk></devices>`
	}
	return `<domain type='qemu'><name>` + guest + `</name><memory unit='KiB'>524288</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os>` + devices + `</domain>`, nil
}

func capabilities(host string) string {
	return `<capabilities><host><uuid>` + host + `</uuid></host><guest><os_type>hvm</os_type><arch name='x86_64'>
<machine>pc</machine><domain type='qemu'/></arch></guest></capabilities>`
}

func (h *fakeHost) Active(context.Context) ([]string, error) {
	hosts.Lock()
	defer hosts.Unlock()
	var names []string
	for name := range h.Guests {
		names = append(names, name)
	}
	return names, nil
}

func (h *fakeHost) Status(_ context.Context, guest string) (libvirt.Status, error) {
	hosts.Lock()
	defer hosts.Unlock()
	s, ok := h.Guests[guest]
	if !ok {
		return s, libvirt.ErrNoDomain
	}
	return s, nil
}

func (h *fakeHost) Watch(_ context.Context, _ string, f func(libvirt.Event)) (func(), error) {
	hosts.Lock()
	defer hosts.Unlock()
	hosts.watch[h.uri] = append(hosts.watch[h.uri], f)
	return func() {}, nil
}

func emit(uri, event, details string) {
	hosts.Lock()
	watchers := hosts.watch[uri]
	hosts.Unlock()
	now := time.Now()
	for _, f := range watchers {
		f(libvirt.Event{Name: event, Seconds: now.Unix(), Micros: uint(now.Nanosecond() / 1000), Details: details,
			Received: now})
	}
}

func (h *fakeHost) Load(context.Context, string) (libvirt.Load, error) {
	return libvirt.Load{Memory: 512 << 20, Resident: 300 << 20, Dirty: libvirt.Dirty{Measured: true, Rate: 10 << 20}},
		nil
}

func (h *fakeHost) StartDirtyRate(context.Context, string, time.Duration) error { return nil }

func (h *fakeHost) JobStats(context.Context, string) (libvirt.JobStats, error) {
	_, err := os.Stat(h.w.file("copying"))
	return libvirt.JobStats{Active: err == nil, Total: 512 << 20, Remaining: 128 << 20, Processed: 384 << 20,
		Rate: 100 << 20, Iteration: 1}, nil
}

func (h *fakeHost) AbortJob(context.Context, string) error {
	hosts.Lock()
	defer hosts.Unlock()
	select {
	case <-hosts.aborted:
	default:
		close(hosts.aborted)
	}
	return nil
}

// MigrateToURI3 takes as long as the file pace says.
func (h *fakeHost) MigrateToURI3(ctx context.Context, guest, target string, _ libvirt.MigrateParams) error {
	pace, err := time.ParseDuration(strings.TrimSpace(h.w.text("pace")))
	if err != nil {
		return errors.New("internal error: unable to connect to server at 'n2:49152'")
	}
	h.w.write("copying", "")
	defer os.Remove(h.w.file("copying"))
	emit(h.uri, "MIGRATION", `{"status":"active"}`)
	select {
	case <-hosts.aborted:
		return errors.New("operation aborted: migration job: canceled by client")
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pace):
	}
	emit(h.uri, "STOP", "")
	emit(h.uri, "MIGRATION", `{"status":"completed"}`)
	hosts.Lock()
	there := hosts.byURI[target]
	if there.Guests == nil {
		there.Guests = map[string]libvirt.Status{}
	}
	there.Guests[guest] = h.Guests[guest]
	delete(h.Guests, guest)
	hosts.Unlock()
	emit(target, "RESUME", "")
	return nil
}
