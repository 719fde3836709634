package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// TestLabField runs its parts on a lab of the shape field: three unequal nodes whose host names resolve nowhere, and
// definitions on a file system that the cluster mounts.
func TestLabField(t *testing.T) {
	newBench(t).walk(t, []string{"--shape", "field"}, []part{
		{"helper processes", false, testHelpers},
		{"cluster boot", false, testClusterBoot},
		{"verdicts", true, testVerdicts},
	})
}

// field is the cluster, with guests whose home is the first node.
type field struct {
	t *testing.T
	b bench
}

// resident is a guest of the field's cluster. Most boot nothing, which costs an emulator next to nothing.
type resident struct {
	name   string
	real   bool // it has the lab's kernel, which obeys the power button and counts its boots on a disk
	number int  // of its UUID and its address

	devices string            // more of them, as domain XML
	params  map[string]string // of the resource, beyond those that all have
	meta    map[string]string
	// location is more constraints, in which ID is the name; "" is a preference for the first node.
	location    string
	utilization string // an attribute of which the guest needs 1
}

// disk is a qcow2 image that all nodes see, and one that the first node alone has.
const (
	sharedDisk = "/shared/guests/ID.qcow2"
	ownDisk    = "/srv/guests/ID.qcow2"
)

func diskDevice(file string) string {
	return `<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='` + file +
		`'/><target dev='vda' bus='virtio'/></disk>`
}

// domain is the definition.
func (r resident) domain() (string, error) {
	if r.real {
		spec := scenario.Kind{Name: "real", First: r.number, MemoryMiB: guest.MinMemoryMiB}.Spec(0)
		spec.Name = r.name
		spec.Disk = strings.ReplaceAll(sharedDisk, "ID", r.name)
		return guest.Domain(spec)
	}
	devices := strings.ReplaceAll(r.devices, "ID", r.name)
	number := fmt.Sprintf("%012x", r.number)
	return strings.NewReplacer("ID", r.name, "NUMBER", number, "DEVICES", devices).Replace(`<domain type='qemu'>
  <name>ID</name>
  <uuid>766d6665-7272-4200-8000-NUMBER</uuid>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    DEVICES
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
`), nil
}

// images are the disks that must be there before it starts.
func (r resident) images() []string {
	var files []string
	for _, file := range []string{sharedDisk, ownDisk} {
		if r.real && file == sharedDisk || strings.Contains(r.devices, file) {
			files = append(files, strings.ReplaceAll(file, "ID", r.name))
		}
	}
	return files
}

// primitive is the guest as a resource, and constraints are its place and what must be there first.
func (r resident) primitive() string {
	pairs := func(kind string, of map[string]string) string {
		var text strings.Builder
		fmt.Fprintf(&text, `<%s id="%s-%s">`, kind, r.name, kind)
		for name, value := range of {
			fmt.Fprintf(&text, `<nvpair id="%s-%s-%s" name="%s" value="%s"/>`, r.name, kind, name, name, value)
		}
		return text.String() + "</" + kind + ">"
	}
	params := map[string]string{
		"config": cluster.Configs + "/" + r.name + ".xml", "hypervisor": "qemu:///system", "migration_transport": "tcp",
	}
	if !r.real {
		params["force_stop"] = "true" // nobody in it hears the power button
	}
	meta := map[string]string{"allow-migrate": "true", "resource-stickiness": "1000"}
	for name, value := range r.params {
		params[name] = value
	}
	for name, value := range r.meta {
		meta[name] = value
	}
	needs := ""
	if r.utilization != "" {
		needs = pairs("utilization", map[string]string{r.utilization: "1"})
	}
	return strings.ReplaceAll(`<primitive id="ID" class="ocf" provider="vmferry" type="Domain">`+
		pairs("instance_attributes", params)+pairs("meta_attributes", meta)+needs+`<operations>
    <op id="ID-start" name="start" interval="0s" timeout="60s"/>
    <op id="ID-stop" name="stop" interval="0s" timeout="60s"/>
    <op id="ID-monitor" name="monitor" interval="10s" timeout="30s"/>
    <op id="ID-to" name="migrate_to" interval="0s" timeout="120s"/>
    <op id="ID-from" name="migrate_from" interval="0s" timeout="60s"/>
  </operations></primitive>`, "ID", r.name)
}

func (r resident) constraints() string {
	place := r.location
	if place == "" {
		place = `<rsc_location id="ID-home" rsc="ID" node="` + source + `" score="100"/>`
	}
	return strings.ReplaceAll(place+`<rsc_order id="ID-after" first="`+cluster.ConfigsClone+`" then="ID"/>
    <rsc_colocation id="ID-beside" rsc="ID" with-rsc="`+cluster.ConfigsClone+`" score="INFINITY"/>`, "ID", r.name)
}

func (f field) on(node string, args ...string) string {
	f.t.Helper()
	return f.b.run(f.t, append([]string{"shell", node}, args...)...)
}

// place makes the guests, and has Pacemaker start them.
func (f field) place(guests []resident) {
	f.t.Helper()
	var primitives, constraints strings.Builder
	for _, r := range guests {
		f.define(r)
		for _, image := range r.images() {
			if err := guest.CreateDisk(f.t.Context(), f.runner(source), image); err != nil {
				f.t.Fatal(err)
			}
		}
		primitives.WriteString(r.primitive())
		constraints.WriteString(r.constraints())
	}
	f.on(source, "cibadmin", "--modify", "--allow-create", "--scope=configuration",
		"--xml-text=<configuration><resources>"+primitives.String()+"</resources><constraints>"+constraints.String()+
			"</constraints></configuration>")
	f.on(source, "crm_resource", "--wait", "--timeout=120")
	for _, r := range guests {
		if state := f.state(source, r.name); state != "running (booted)" {
			f.t.Fatalf("guest %s was started on %s and is %q there:\n%s", r.name, source, state, f.monitor())
		}
	}
}

// define writes a guest's definition to the file system that the cluster mounts.
func (f field) define(r resident) {
	f.t.Helper()
	text, err := r.domain()
	if err == nil {
		err = os.WriteFile(filepath.Join(f.b.dir, "shared", cluster.ConfigsStore, r.name+".xml"), []byte(text), 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// monitor is what Pacemaker says of its resources.
func (f field) monitor() string {
	f.t.Helper()
	return f.on(target, "crm_mon", "--one-shot", "--inactive", "--failcounts")
}

func (f field) runner(node string) guest.Runner {
	return func(_ context.Context, program string, args ...string) error {
		f.on(node, append([]string{program}, args...)...)
		return nil
	}
}

// remove stops the guests and takes them away.
func (f field) remove(guests []resident) {
	for _, r := range guests {
		f.on(target, "crm_resource", "--resource="+r.name, "--meta", "--set-parameter=target-role",
			"--parameter-value=Stopped")
	}
	f.on(target, "crm_resource", "--wait", "--timeout=120")
	for _, r := range guests {
		for _, path := range []string{
			"//rsc_location[@rsc='%s']", "//rsc_order[@then='%s']", "//rsc_colocation[@rsc='%s']", "//primitive[@id='%s']",
		} {
			f.on(target, "cibadmin", "--delete-all", "--force", "--xpath="+fmt.Sprintf(path, r.name))
		}
	}
	f.on(target, "crm_resource", "--wait", "--timeout=60")
}

// state is what a node's libvirt says of a guest; "" where it has none of that name.
func (f field) state(node, guest string) string {
	f.t.Helper()
	out, code := f.b.try(f.t, "shell", node, "virsh", "--connect", "qemu:///system", "domstate", "--reason", guest)
	if code != 0 {
		return ""
	}
	return strings.TrimSpace(out)
}

// output runs a command on a node, and returns its standard output and its exit code.
func (f field) output(node string, args ...string) (string, int) {
	f.t.Helper()
	var out, complaint bytes.Buffer
	cmd := f.b.command(f.t.Context(), append([]string{"shell", node}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatalf("%q at %s: %v", args, node, err)
	}
	f.t.Logf("%q at %s: exit code %d %s", args, node, cmd.ProcessState.ExitCode(), strings.TrimSpace(complaint.String()))
	return out.String(), cmd.ProcessState.ExitCode()
}

// members waits until Pacemaker on every node has all of them as members.
func (f field) members() {
	f.t.Helper()
	nodes := f.b.nodes(f.t)
	await(f.t, "all nodes to be members", 90*time.Second, func() bool {
		return !slices.ContainsFunc(nodes, func(node string) bool {
			out, code := f.b.try(f.t, "shell", node, "crm_mon", "--one-shot")
			return code != 0 || !strings.Contains(out, "Online: [ "+strings.Join(nodes, " ")+" ]")
		})
	})
}

func (f field) power(op supervisor.Op, node string) {
	f.t.Helper()
	request := supervisor.Request{Op: op, Node: node}
	if _, err := supervisor.Ask(f.t.Context(), supervisor.Control(f.b.dir), request); err != nil {
		f.t.Fatal(err)
	}
}

// A TPM is emulated by a process of its own, swtpm.
const tpmDevice = `<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>`

// testHelpers has a guest with a helper process, and asks for others while libvirt is away: a helper is no emulator,
// and hides no guest.
func testHelpers(t *testing.T, b bench) {
	f := field{t, b}
	guests := []resident{{name: "vtpm", number: 1, devices: tpmDevice}, {name: "plain", number: 2}}
	f.place(guests)
	defer f.remove(guests)
	if len(find(t, source, func(p proc) bool { return filepath.Base(p.args[0]) == "swtpm" })) == 0 {
		t.Fatal("no helper process runs")
	}
	f.define(resident{name: "absent", number: 3})
	call := func(name, action string) int {
		env := agentEnv("config="+cluster.Configs+"/"+name+".xml", "hypervisor=qemu:///system", "migration_transport=tcp",
			"CRM_meta_timeout=20000", "CRM_meta_on_node="+source)
		env = append(env, "OCF_RESOURCE_INSTANCE="+name)
		out, code := b.try(t, append(append([]string{"shell", source}, env...), agentFile, action)...)
		t.Logf("%s of %s: exit code %d %s", action, name, code, strings.TrimSpace(out))
		return code
	}
	end := outages[0].begin(t, b)
	defer end()
	for _, c := range []struct {
		guest, action string
		code          int
	}{
		{"absent", "monitor", 7}, {"absent", "stop", 0}, {"plain", "monitor", 0}, {"vtpm", "monitor", 0},
	} {
		if code := call(c.guest, c.action); code != c.code {
			t.Errorf("%s of %s without libvirt: exit code %d, want %d", c.action, c.guest, code, c.code)
		}
	}
}

// testClusterBoot cuts the power of all nodes at once. When they boot, each is asked for the guests before the file
// system with their definitions is mounted; that bans no guest from anywhere.
func testClusterBoot(t *testing.T, b bench) {
	f := field{t, b}
	guests := []resident{{name: "first", number: 1}, {name: "second", number: 2}}
	f.place(guests)
	defer f.remove(guests)
	for _, node := range b.nodes(t) {
		f.power(supervisor.OpKill, node)
	}
	for _, node := range b.nodes(t) {
		f.power(supervisor.OpOn, node)
	}
	f.members()
	f.on(source, "crm_resource", "--wait", "--timeout=120")
	status := f.monitor()
	for _, r := range guests {
		if state := f.state(source, r.name); state != "running (booted)" {
			t.Errorf("guest %s is %q on %s:\n%s", r.name, state, source, status)
		}
	}
	checkNoFailures(t, status)
	if strings.Contains(status, "not installed") || strings.Contains(status, "not configured") {
		t.Errorf("a probe found the guests' files missing, and said that they cannot run there:\n%s", status)
	}
}
