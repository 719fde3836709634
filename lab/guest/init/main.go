package main

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/lab/guest/disk"
	"github.com/vmferry/vmferry/lab/guest/ledger"
)

// memoryLimit starts the garbage collector, which is otherwise off.
const memoryLimit = 16 << 20

func main() {
	if os.Getpid() != 1 {
		os.Exit(askProcess1(filepath.Base(os.Args[0])))
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	power := syscall.LINUX_REBOOT_CMD_POWER_OFF
	if err := run(&power); err != nil {
		say("vmferry guest cannot run: " + err.Error())
	}
	syscall.Sync()
	err := syscall.Reboot(power)
	// Only reached when the kernel refuses: then a panic is all that is left.
	say("vmferry guest cannot stop: " + err.Error())
}

// powerCommands are the names under which the kernel calls this program when
// the hypervisor's toolstack asks for a shutdown or a reboot, and what process 1
// is told then.
var powerCommands = map[string]syscall.Signal{"poweroff": syscall.SIGTERM, "reboot": syscall.SIGINT}

// askProcess1 is this program under another name and returns its exit code.
func askProcess1(name string) int {
	signal, ok := powerCommands[name]
	if !ok {
		say("init: only runs as process 1 of a guest")
		return 2
	}
	if err := syscall.Kill(1, signal); err != nil {
		say(name + ": " + err.Error())
		return 1
	}
	return 0
}

// run brings the guest up and returns when it shall go down, with power set to
// the reboot(2) command that was requested.
func run(power *int) error {
	cfg, bootID, err := prepare()
	if err != nil {
		return err
	}
	go supervise(cfg.name, services(cfg))
	if err := loadModules(lateModules); err != nil {
		return err
	}
	off := make(chan struct{}, 1)
	watchPowerButton(off)
	j, diskErr := openRecord(cfg, bootID)
	if diskErr != nil {
		say("vmferry guest " + cfg.name + ": " + diskErr.Error())
	}
	if err := serveLedger(cfg, bootID); err != nil {
		say("vmferry guest " + cfg.name + ": ledger: " + err.Error())
	}
	go serveDatabase(cfg, bootID)
	if cfg.dirty > 0 {
		if err := startRewriting(cfg); err != nil {
			return err
		}
	}
	// Last, so that a guest which answers can also be switched off.
	if err := serveStatus(&state{bootID: bootID, journal: j, diskFailed: diskErr != nil},
		cfg.at(lightPort).String()); err != nil {
		return err
	}
	say("vmferry guest " + cfg.name + " up, boot id " + bootID)
	*power = keepRecord(cfg, j, off)
	say("vmferry guest " + cfg.name + " going down")
	return nil
}

// prepare does what has to be done before anything can be served.
func prepare() (config, string, error) {
	if err := mountAll(); err != nil {
		return config{}, "", err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return config{}, "", err
	}
	cfg, err := parseConfig(string(line))
	if err != nil {
		return config{}, "", err
	}
	if err := loadModules(earlyModules); err != nil {
		return config{}, "", err
	}
	if err := mountDatabase(cfg); err != nil {
		return config{}, "", err
	}
	if err := configureNetwork(cfg); err != nil {
		return config{}, "", err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return cfg, strings.TrimSpace(string(id)), err
}

// keepRecord writes the disk record in the configured interval until the power
// button or a signal ends it, and returns the reboot(2) command to give. The
// last record is written on the way out.
func keepRecord(cfg config, j *disk.Journal, off <-chan struct{}) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		say("vmferry guest " + cfg.name + ": Ctrl-Alt-Del: " + err.Error())
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		writeRecords(cfg, j, stop)
	}()
	power := syscall.LINUX_REBOOT_CMD_POWER_OFF
	select {
	case <-off:
	case sig := <-signals:
		if sig == syscall.SIGINT {
			power = syscall.LINUX_REBOOT_CMD_RESTART
		}
	}
	close(stop)
	select {
	case <-done:
	case <-time.After(time.Second): // the disk hangs: go down without it
	}
	return power
}

// writeRecords writes one record at once and then one per interval until stop is
// closed. Of failures that repeat only the first is put on the console.
func writeRecords(cfg config, j *disk.Journal, stop <-chan struct{}) {
	if j == nil {
		return
	}
	tick := time.NewTicker(cfg.interval)
	defer tick.Stop()
	for failed := false; ; {
		err := j.Write()
		if err != nil && !failed {
			say("vmferry guest " + cfg.name + ": " + err.Error())
		}
		failed = err != nil
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// openRecord opens the record on the guest's disk; nil when it has no disk.
func openRecord(cfg config, bootID string) (*disk.Journal, error) {
	if cfg.disk == "" {
		return nil, nil
	}
	f, err := os.OpenFile(cfg.disk, os.O_RDWR|syscall.O_DIRECT|syscall.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	j, err := disk.Open(f, bootID)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// serveLedger opens the ledger, where the guest has one, and starts to serve it.
func serveLedger(cfg config, bootID string) error {
	if cfg.ledger == "" {
		return nil
	}
	f, err := os.OpenFile(cfg.ledger, os.O_RDWR|syscall.O_DIRECT|syscall.O_DSYNC, 0)
	if err != nil {
		return err
	}
	l, err := ledger.Open(f, bootID)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	listener, err := net.Listen("tcp4", ":"+strconv.Itoa(ledger.Port))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	go ledger.Serve(listener, l)
	return nil
}

// say puts one line on the console.
func say(line string) {
	os.Stderr.WriteString(line + "\n") //nolint:errcheck // nowhere to report it to
}
