package xen

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/node"
)

// Machine is a machine that has been switched on. Its methods may be called from
// several goroutines.
type Machine struct {
	name   string
	cgroup node.Cgroup
	cmd    *exec.Cmd
	done   chan struct{} // closed when QEMU has ended
	reboot bool          // valid then: the machine reset itself
}

// Boot switches the node's machine on, and returns as soon as its QEMU runs. What
// it prints is added to the file console. It must be called where [Host.Prepare] was.
func (h Host) Boot(spec node.Spec, cgroup node.Cgroup, console string) (*Machine, error) {
	console, err := h.fromInside(console)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := eventPipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	args := arguments(spec, console)
	cmd := exec.Command("/usr/bin/qemu-system-x86_64", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.Image}
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cgroup.Start(cmd); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start node %q: %w", spec.Name, err)
	}
	m := &Machine{name: spec.Name, cgroup: cgroup, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer ours.Close()
		// The events end when QEMU does.
		m.reboot = resets(ours)
		_ = cmd.Wait()
		h.hangUp(spec.Name)
		close(m.done)
	}()
	return m, nil
}

// eventPipe is a connected pair of sockets: ours, and QEMU's.
func eventPipe() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a connection to QEMU: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "qmp"), os.NewFile(uintptr(pair[1]), "qmp"), nil
}

// Done is closed when the machine is off: its QEMU has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Rebooted tells, once the machine is off, whether it reset itself in order to
// boot again.
func (m *Machine) Rebooted() bool {
	<-m.done
	return m.reboot
}

// Leader is the process id of the machine's QEMU.
func (m *Machine) Leader() (int, error) { return m.cmd.Process.Pid, nil }

// Kill ends the machine as a power cut does. What its domains had written stays
// as it was: nothing is synced, nothing is signalled. It returns when QEMU is gone,
// or with ctx's error.
func (m *Machine) Kill(ctx context.Context) error {
	// Go holds the process by a pidfd: this cannot hit another one.
	_ = m.cmd.Process.Kill() // it may have ended
	select {
	case <-m.done:
	case <-ctx.Done():
		return fmt.Errorf("kill node %q: %w", m.name, ctx.Err())
	}
	if err := m.cgroup.WaitEmpty(ctx); err != nil {
		return fmt.Errorf("kill node %q: %w", m.name, err)
	}
	return nil
}

// memory is what a machine has, and dom0Memory what of it domain 0 keeps, in MiB.
// The rest is for guests, and about 100 MiB for the hypervisor.
const (
	memory     = 2560
	dom0Memory = 1024
)

// processor is the model that is emulated: an AMD one, as the emulator has AMD's
// virtualisation. An RDTSCP that Xen intercepts is reported with the wrong length, and
// domain 0's programs are damaged by a PVH guest next to them when there is XSAVE or AVX.
const processor = "max,-rdtscp,-xsave,-avx"

// hypervisorLine is Xen's command line. The repairs for real processors' leaks
// only cost time here, and a Xen that panicked must look dead rather than come back
// without being asked.
var hypervisorLine = []string{
	"console=com1", "com1=115200,8n1", "noreboot",
	fmt.Sprintf("dom0_mem=%dM,max:%[1]dM", dom0Memory), "dom0_max_vcpus=1", "smt=0", "xpti=0", "spec-ctrl=no",
	"bootscrub=0", // an emulator's memory is clean, and takes room on the host only once it was written to
}

// unneeded are drivers for what the machine has and nobody uses, and for
// ciphers whose self-tests take seconds.
var unneeded = []string{
	"ata_piix", "floppy", "psmouse", "pcspkr", "i2c_piix4", "powernow_k8", "aesni_intel", "ghash_clmulni_intel",
	"serio_raw", "evdev", "parport_pc", "parport", "intel_rapl_msr", "sg", "joydev",
}

// dom0Line is the command line of domain 0's kernel.
var dom0Line = []string{
	"console=hvc0", "net.ifnames=0", "mitigations=off", "audit=0", "nokaslr",
	"systemd.show_status=0", "module_blacklist=" + strings.Join(unneeded, ","),
}

// arguments is QEMU's command line for a machine. All paths are as QEMU sees them; file
// descriptor 3 is the socket on which it tells its events.
func arguments(spec node.Spec, console string) []string {
	disk := func(id, file, options string) []string {
		return []string{
			"-drive", "if=none,id=" + id + ",format=raw,file=" + file + "," + options,
			"-device", "virtio-blk-pci,drive=" + id,
		}
	}
	card := func(id, tap, mac string) []string {
		return []string{
			"-netdev", "tap,id=" + id + ",ifname=" + tap + ",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=" + id + ",romfile=,mac=" + mac,
		}
	}
	// The multiboot protocol has modules, each with a command line, in which a comma is doubled.
	modules := kernelFile(inside) + " " + strings.ReplaceAll(strings.Join(dom0Line, " "), ",", ",,") + "," +
		initramfs(inside)
	args := []string{
		"-name", spec.Name, "-uuid", fmt.Sprintf("766d6665-7272-4000-8000-%012x", spec.ID),
		"-machine", "pc", "-accel", "tcg,thread=single,tb-size=256", "-cpu", processor,
		"-m", strconv.Itoa(memory), "-smp", "1",
		"-nodefaults", "-display", "none", "-no-reboot",
		"-chardev", "socket,id=events,fd=3", "-mon", "chardev=events,mode=control",
		"-chardev", "file,id=console,append=on,path=" + console, "-serial", "chardev:console",
		"-kernel", "/" + hypervisorFile, "-append", strings.Join(hypervisorLine, " "), "-initrd", modules,
	}
	// In the order in which lab/xen/init takes them: vda, vdb, vdc.
	h := Host{Dir: inside}
	args = append(args, disk("image", "/"+diskFile, "readonly=on")...)
	args = append(args, disk("product", h.productDisk(), "readonly=on")...)
	// A killed QEMU loses nothing that it has written: the host's kernel has it.
	args = append(args, disk("state", h.stateDisk(spec.Name), "cache=unsafe")...)
	args = append(args,
		"-fsdev", "local,id=shared,security_model=none,path="+filepath.Join(inside, "shared"),
		"-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared")
	args = append(args, card("host", hostTap(spec), hostMAC(spec))...)
	return append(args, card("lab", labTap(spec), labMAC(spec))...)
}
