package xen

import (
	"bytes"
	"flag"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/node"
)

var update = flag.Bool("update", false, "write the golden files again")

var nodes = []node.Spec{
	{Name: "node1", ID: 1, Address: netip.MustParseAddr("10.77.0.1")},
	{Name: "node2", ID: 2, Address: netip.MustParseAddr("10.77.0.2")},
}

// golden compares a text with the file of that name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it and run with -update:\n%s", path, got)
	}
}

func TestArguments(t *testing.T) {
	args := arguments(nodes[1], "/mnt/node2.console")
	golden(t, "qemu.txt", strings.Join(args, "\n")+"\n")
}

func TestArgumentsTellMachinesApart(t *testing.T) {
	one, two := arguments(nodes[0], "/c"), arguments(nodes[1], "/c")
	differ := 0
	for i := range one {
		if one[i] != two[i] {
			differ++
		}
	}
	// Name, UUID, own disk, and the tap and the address of two cards.
	if differ != 7 {
		t.Errorf("%d arguments differ", differ)
	}
}

func TestClientConfig(t *testing.T) {
	golden(t, "ssh_config.txt", clientConfig(nodes, "/var/lib/vmferry-lab/ssh"))
}

func TestQuoteGivesAShellTheVeryArguments(t *testing.T) {
	for _, args := range [][]string{
		{"true"},
		{""},
		{"a b", "", "'", "\"", "`id`", "$HOME", "\\", "*", "~", "a\nb", "--", ";", "&", "#", "!", "ü"},
		{"it's", "''", "'\\''"},
	} {
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+quote(args)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, args) {
			t.Errorf("%q became %q", args, got)
		}
	}
}

func TestCommandIsOneWordForTheOtherSide(t *testing.T) {
	cmd := Command(t.Context(), "/lab/config", "node1", "virsh", "list", "--name=a b")
	want := []string{"ssh", "-F", "/lab/config", "node1", "--", "exec 'virsh' 'list' '--name=a b'"}
	if !slices.Equal(cmd.Args, want) {
		t.Errorf("got %q", cmd.Args)
	}
}

func TestWithoutSEP(t *testing.T) {
	const text = "<model>\n    <feature name='sse'/>\n    <feature name='sep'/>\n    <feature name='sse2'/>\n</model>\n"
	got, err := withoutSEP(text)
	if err != nil || got != "<model>\n    <feature name='sse'/>\n    <feature name='sse2'/>\n</model>\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := withoutSEP(got); err == nil {
		t.Error("a model that is not the expected one was accepted")
	}
}

func TestImageIsWhatANodeHasAndXen(t *testing.T) {
	r := Image()
	for _, pkg := range []string{"pacemaker", "corosync", "heartbeat", "xen-hypervisor-4.20-amd64", "openssh-server"} {
		if !slices.Contains(r.Packages, pkg) {
			t.Errorf("no %s", pkg)
		}
	}
	if !slices.ContainsFunc(r.Excluded,
		func(pattern string) bool { return strings.HasSuffix(pattern, "driver_qemu.so") }) {
		t.Error("libvirt would ask QEMU what it can do")
	}
	if !strings.HasPrefix(filepath.Base(r.Path("/cache")), "xen-") || r.Path("/cache") != Image().Path("/cache") {
		t.Errorf("it is kept at %q", r.Path("/cache"))
	}
}

// kernel is a folder of modules as depmod(8) leaves it.
func kernel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var dep strings.Builder
	for _, name := range modules {
		if name != "virtio_blk" {
			dep.WriteString(name + ".ko:" + map[string]string{"ext4": " jbd2.ko"}[name] + "\n")
		}
	}
	dep.WriteString("jbd2.ko:\n")
	files := map[string]string{"modules.dep": dep.String(), "modules.builtin": "kernel/virtio_blk.ko\n",
		"jbd2.ko": "body of jbd2"}
	for _, name := range modules {
		files[name+".ko"] = "body of " + name
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInitramfs(t *testing.T) {
	archive, err := pack(t.Context(), kernel(t), []byte("the first process"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"init\x00", "the first process", "dev/console\x00", "body of overlay",
		"/modules/jbd2.ko\n/modules/ext4.ko\n", "/modules/9p.ko\n"} {
		if !bytes.Contains(archive, []byte(want)) {
			t.Errorf("the archive has no %q", want)
		}
	}
	if bytes.Contains(archive, []byte("virtio_blk.ko")) {
		t.Error("a module that the kernel has built in is in the archive")
	}
	if _, err := pack(t.Context(), t.TempDir(), nil); err == nil {
		t.Error("made an initramfs without a kernel")
	}
}

func TestResets(t *testing.T) {
	const greeting = `{"QMP":{"version":{},"capabilities":[]}}` + "\n" + `{"return":{}}` + "\n"
	for _, test := range []struct {
		name, events string
		want         bool
	}{
		{"reboot", `{"event":"RESET","data":{"guest":true}}{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}`, true},
		{"power off", `{"event":"POWERDOWN"}{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}`,
			false},
		{"terminated", `{"event":"SHUTDOWN","data":{"guest":false,"reason":"host-signal"}}`, false},
		{"killed", `{"event":"NIC_RX_FILTER_CHANGED","data":{"path":"/machine"}}`, false},
		{"cut off", `{"event":"SHUTDOWN","data":{"gue`, false},
		{"nothing", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, qemu := net.Pipe()
			asked := make(chan string, 1)
			go func() {
				buffer := make([]byte, 64)
				n, _ := qemu.Read(buffer)
				asked <- string(buffer[:n])
				_, _ = io.WriteString(qemu, greeting+test.events)
				qemu.Close()
			}()
			if got := resets(ours); got != test.want {
				t.Errorf("got %v", got)
			}
			if got := <-asked; got != `{"execute":"qmp_capabilities"}`+"\n" {
				t.Errorf("requested %q", got)
			}
		})
	}
}

func TestFromInside(t *testing.T) {
	h := Host{Dir: "/var/lib/vmferry-lab"}
	if got, err := h.fromInside("/var/lib/vmferry-lab/node1.console"); err != nil || got != "/mnt/node1.console" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := h.fromInside("/etc/passwd"); err == nil {
		t.Errorf("QEMU would see %q", got)
	}
}
