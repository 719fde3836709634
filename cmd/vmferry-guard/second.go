package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/second"
	"github.com/vmferry/vmferry/hbplugin/guard/surrender"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// asSecond is the second process.
func asSecond(ctx context.Context, _ options, log *logrus.Logger) error {
	prepare(log)
	page, err := second.OpenPage(second.PagePath, second.Second)
	if errors.Is(err, second.ErrBusy) {
		return nil // there is one already
	}
	if err != nil {
		return err
	}
	k := killer(ctx, surrender.SecondSockets, log)
	second.Watch(ctx, page, hostproc.Uptime, func(ctx context.Context) error {
		begun, guests := time.Now(), k.Known()
		err := k.Surrender(ctx)
		if err == nil {
			_, generation := page.Good()
			go recordKill(begun, guests, generation, log) // its disk may hang
		}
		return err
	}, k.Prove, log)
	return nil
}

// recordKill records what the second process did. It does not know the node's name in the cluster.
func recordKill(begun time.Time, guests int, generation uint64, log logrus.FieldLogger) {
	host, err := os.Hostname()
	if err == nil {
		err = journal.Append(journalPath,
			journal.Event{Time: time.Now(), Node: host, Kind: journal.Killed, Guests: guests,
				Generation: generation, Evidence: "the guard was gone or silent until the lease was too old: its second process killed",
				DurationMS: time.Since(begun).Milliseconds()})
	}
	if err != nil {
		log.WithError(err).Error("record the kill")
	}
}

// keepSecond has start run a second process whenever runs says that there is none: one that an earlier guard has left
// behind is as good.
func keepSecond(ctx context.Context, runs func() bool, start func() error, log logrus.FieldLogger) {
	for ; ctx.Err() == nil; _ = wait.For(ctx, time.Second) {
		if runs() {
			continue
		}
		if err := start(); err != nil {
			log.WithError(err).Error("the guard's second process ended: it is started again")
		}
	}
}

// runSecond runs the second process until it ends, in a session of its own: what kills the guard's processes together
// must name it too. It outlives the guard.
func runSecond() error {
	cmd := exec.Command(self, "--second")
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	return cmd.Run()
}

// prepare keeps this process from waiting for storage or for a processor when it has to kill. It reports what it got.
func prepare(log logrus.FieldLogger) (got control.Prepared) {
	got.Locked, got.RealTime, got.Destroys = true, true, true
	if err := surrender.CanDestroy(); err != nil {
		got.Destroys = false
		log.WithError(err).Warn("cannot destroy sockets: there is no surrender of guests that have disks over the network")
	}
	if err := lockMemory(); err != nil {
		got.Locked = false
		log.WithError(err).Warn("cannot lock the memory: the guard may wait for swap; set LimitMEMLOCK=infinity in its unit")
	}
	// One thread at a time runs Go code, so that none waits for one that the kernel does not run.
	runtime.GOMAXPROCS(1)
	if err := realTime(); err != nil {
		got.RealTime = false
		log.WithError(err).Warn("no real-time priority: a busy node may lose its lease")
	}
	return got
}

// priority is the real-time priority of the guard's threads, below Corosync's.
const priority = 20

// realTime gives every thread of this process a real-time priority, which those that begin later inherit. It is
// SCHED_RR: threads of the Go runtime wait for each other without a sleep, and with SCHED_FIFO the one that is waited
// for may never get the processor.
func realTime() error {
	for range 2 { // a thread that began meanwhile may have inherited none
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority}
			if err := unix.SchedSetAttr(id, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("sched_setattr: %w", err)
			}
		}
	}
	return nil
}

// lockMemory reads the program and its libraries in, and keeps in memory what was used once. To have all memory that is
// reserved would take hundreds of megabytes, most of which the runtime never touches.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for _, m := range fileMappings(string(maps)) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_POPULATE_READ); errno != 0 {
			return fmt.Errorf("read the program in: %w", errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// fileMappings are those of files that can be read, in the text of proc_pid_maps(5).
func fileMappings(maps string) (all []mapping) {
	for line := range strings.Lines(maps) {
		var m mapping
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1][0] != 'r' || fields[5][0] != '/' {
			continue
		}
		if n, err := fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to); n == 2 && err == nil {
			all = append(all, m)
		}
	}
	return all
}
