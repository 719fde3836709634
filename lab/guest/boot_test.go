package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/game"
	"github.com/vmferry/vmferry/lab/guest/disk"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/migrate/wait"
)

// kernelRootEnv names a root with boot/vmlinuz-VERSION and lib/modules/VERSION
// (or usr/lib/modules/VERSION) in it: an unpacked linux-image package.
const kernelRootEnv = "VMFERRY_GUEST_KERNEL_ROOT"

// bootLimit is how long an emulated guest may take on a busy machine.
const bootLimit = 60 * time.Second

// TestBoot boots a guest twice under emulation and switches it off with its
// power button: the reflector answers, the record continues.
func TestBoot(t *testing.T) {
	s := bootSpec(t)
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "guest.qcow2")
	if err := CreateDisk(t.Context(), runHere, image); err != nil {
		t.Fatal(err)
	}
	first := bootOnce(t, s, image)
	second := bootOnce(t, s, image)
	if first.Boots != 1 || second.Boots != 2 || first.BootID == second.BootID {
		t.Errorf("boots do not count: %+v, then %+v", first, second)
	}
	if second.DiskCounterAtBoot < first.Counter {
		t.Errorf("lost records: %d durable, %d found", first.Counter, second.DiskCounterAtBoot)
	}
	if second.ForeignWrites+second.WriteErrors > 0 {
		t.Errorf("second boot: %+v", second)
	}
	if r, err := ReadDisk(image); err != nil || r.BootID != second.BootID || r.Counter < second.Counter {
		t.Errorf("disk holds %+v, %v after %+v", r, err, second)
	}
}

// bootSpec builds the guest's two programs, or skips with the reason.
func bootSpec(t *testing.T) Spec {
	t.Helper()
	root := os.Getenv(kernelRootEnv)
	if root == "" {
		t.Skip(kernelRootEnv + " names no unpacked kernel")
	}
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img", "zstd", "xz"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	dir := t.TempDir()
	s := Spec{Init: filepath.Join(dir, "init"), Blackout: filepath.Join(dir, "blackout"),
		OutDir: filepath.Join(dir, "boot")}
	s.KernelImage = one(t, root+"/boot/vmlinuz-*")
	s.ModulesDir = one(t, root+"/usr/lib/modules/*")
	for program, pkg := range map[string]string{s.Init: "./init", s.Blackout: "../../cmd/blackout"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	return s
}

func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: nothing matches %q", kernelRootEnv, pattern)
	}
	return found[0]
}

func runHere(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestBootGame boots a guest with a game server, and asks all that it offers.
func TestBootGame(t *testing.T) {
	s := bootSpec(t)
	s.GameTree = os.Getenv(kernelRootEnv)
	if _, err := os.Stat(filepath.Join(s.GameTree, gameServer)); err != nil {
		t.Skip(err)
	}
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "guest.qcow2")
	if err := CreateDisk(t.Context(), runHere, image); err != nil {
		t.Fatal(err)
	}
	bootOnce(t, s, image)
}

// TestBootLedger cuts a guest's power while a client sends it numbers. The next boot has all that were acknowledged.
func TestBootLedger(t *testing.T) {
	s := bootSpec(t)
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "guest.qcow2")
	if err := CreateDisk(t.Context(), runHere, image); err != nil {
		t.Fatal(err)
	}
	c, last := cutPower(t, s, image)
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	view, err := disk.Guest(f)
	if err != nil {
		t.Fatal(err)
	}
	scan, err := ledger.Read(view, 1)
	if found := c.Against(scan); err != nil || !found.Good() || scan.Last() < last || scan.Generation() != 2 {
		t.Errorf("%v, %+v, the disk ends at %d in generation %d", err, found, scan.Last(), scan.Generation())
	}
}

// TestBootDatabase is TestBootLedger where the ledger is in a database.
func TestBootDatabase(t *testing.T) {
	s := bootSpec(t)
	s.DatabaseTree = os.Getenv(kernelRootEnv)
	if _, err := os.Stat(filepath.Join(s.DatabaseTree, databaseParts.programs[0].from)); err != nil {
		t.Skip(err)
	}
	for _, tool := range []string{"mariadbd", "mke2fs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if err := Build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "guest.qcow2")
	if err := CreateDatabaseDisk(t.Context(), runHere, image); err != nil {
		t.Fatal(err)
	}
	cutPower(t, s, image)
}

// cutPower boots a guest twice with a client that sends it numbers, and kills it each time. It returns the client, and
// the last number that was acknowledged.
func cutPower(t *testing.T, s Spec, image string) (c *ledger.Client, last uint64) {
	t.Helper()
	addr := ownAddress()
	c = &ledger.Client{Address: fmt.Sprintf("%s:%d", addr, ledger.Port), Pace: 10 * time.Millisecond,
		Quiet: time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), 10*bootLimit)
	defer cancel()
	go c.Run(ctx)
	for boot := range 2 {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
			qemuArgs(s, image, filepath.Join(t.TempDir(), "qmp"), addr)...)
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for enough := last + 50; last < enough; last, _ = c.Last() {
			if wait.For(ctx, 20*time.Millisecond) != nil {
				_ = cmd.Process.Kill()
				t.Fatalf("boot %d acknowledged %d numbers", boot+1, last)
			}
		}
		t.Logf("boot %d had acknowledged 50 numbers %v after start", boot+1, time.Since(begin).Round(10*time.Millisecond))
		if f, err := c.Verify(ctx); err != nil || !f.Good() {
			t.Errorf("boot %d: %+v, %v", boot+1, f, err)
		}
		if r, err := c.Records(ctx); err != nil || r.Last() < last || r.Generation() != uint64(boot+1) {
			t.Errorf("boot %d: it has %d records, the last is %d in generation %d, %v", boot+1, len(r.Records), r.Last(),
				r.Generation(), err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return c, last
}

// play asks the guest's game server until it has answered.
func play(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, time.Second)
		got, err := game.Watch(try, fmt.Sprintf("%s:%d", addr, GamePort), 20*time.Millisecond)
		cancel()
		if err == nil {
			t.Logf("the game server answered %d of %d", got.Answered, got.Sent)
			return
		}
	}
	t.Error("the game server never answered")
}

// bootOnce boots the guest, probes it, presses its power button, waits for its
// end and returns what it last said.
func bootOnce(t *testing.T, s Spec, image string) Status {
	t.Helper()
	addr := ownAddress()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	monitor := filepath.Join(t.TempDir(), "qmp")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(s, image, monitor, addr)...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	early := awaitCounter(ctx, t, addr, 0)
	t.Logf("status %v after start, kernel up for %d ms", time.Since(begin).Round(10*time.Millisecond), early.UptimeMS)
	probe(ctx, t, s.Blackout, addr)
	if s.GameTree != "" {
		play(ctx, t, addr)
	}
	late := awaitCounter(ctx, t, addr, early.Counter+2)
	begin = time.Now()
	pressPower(ctx, t, monitor)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("guest did not end well: %v", err)
	}
	t.Logf("off %v after the power button", time.Since(begin).Round(10*time.Millisecond))
	return late
}

func qemuArgs(s Spec, image, monitor, addr string) []string {
	guest := DomainSpec{Type: "qemu", Name: "boot-test", IP: "10.0.2.15/24", Gateway: "10.0.2.2", Disk: image,
		Ledger: true}
	boot, initrd, memory := s.OutDir, initrdName, MinMemoryMiB
	if s.GameTree != "" {
		guest.Game, initrd, memory = true, gameName, GameMemoryMiB
	}
	if s.DatabaseTree != "" {
		guest.Database, guest.Ledger, initrd, memory = true, false, databaseName, DatabaseMemoryMiB
	}
	return []string{
		"-accel", "tcg", "-machine", machine + ",hpet=off", "-cpu", "qemu64,+rdrand", "-m", fmt.Sprint(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-qmp",
		"unix:" + monitor + ",server=on,wait=off",
		"-kernel", filepath.Join(boot, "vmlinuz"), "-initrd", filepath.Join(boot, initrd), "-append",
		guest.CommandLine(),
		"-drive", "file=" + image + ",if=none,id=disk,format=qcow2,cache=none", "-device", "virtio-blk-pci,drive=disk",
		"-netdev", forwards(addr),
		"-device", "virtio-net-pci,netdev=net,romfile=",
	}
}

// forwards is a network in which addr leads to the guest.
func forwards(addr string) string {
	net := fmt.Sprintf("user,id=net,hostfwd=tcp:%[1]s:%[2]d-:%[2]d,hostfwd=tcp:%[1]s:%[3]d-:%[3]d", addr, StatusPort,
		ledger.Port)
	for _, port := range []int{ReflectorPort, BlackoutPort} {
		net += fmt.Sprintf(",hostfwd=udp:%[1]s:%[2]d-:%[2]d,hostfwd=tcp:%[1]s:%[2]d-:%[2]d", addr, port)
	}
	return net + fmt.Sprintf(",hostfwd=udp:%[1]s:%[2]d-:%[2]d", addr, GamePort)
}

// ownAddress is an address of loopback that this process alone uses, so that no
// port of it is ever another's.
func ownAddress() string {
	pid := os.Getpid()
	return net.IPv4(127, 64|byte(pid>>16), byte(pid>>8), byte(pid)).String()
}

// probe lets the probe tool ask both reflectors over UDP and TCP: it fails when
// one never answers.
func probe(ctx context.Context, t *testing.T, tool, addr string) {
	t.Helper()
	for _, port := range []int{ReflectorPort, BlackoutPort} {
		at := fmt.Sprintf("://%s:%d", addr, port)
		err := runHere(ctx, tool, "watch", "--quiet", "--interval", "5ms", "--for", "1s", "udp"+at, "tcp"+at)
		if err != nil {
			t.Errorf("probe the reflector: %v", err)
		}
	}
}

// awaitCounter asks until the guest's counter has reached least.
func awaitCounter(ctx context.Context, t *testing.T, addr string, least uint64) Status {
	t.Helper()
	for {
		// The emulator accepts before the guest is up and then says nothing.
		try, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		s, err := Ask(try, fmt.Sprintf("%s:%d", addr, StatusPort))
		cancel()
		if err == nil && s.Counter >= least {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no status with a counter of %d: %+v, %v", least, s, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// pressPower asks the emulator to press the guest's power button (QMP
// system_powerdown).
func pressPower(ctx context.Context, t *testing.T, monitor string) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(ctx, "unix", monitor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	in := bufio.NewReader(c)
	if _, err := in.ReadBytes('\n'); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"qmp_capabilities", "system_powerdown"} {
		if err := json.NewEncoder(c).Encode(map[string]string{"execute": command}); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ReadBytes('\n'); err != nil {
			t.Fatal(err)
		}
	}
}
