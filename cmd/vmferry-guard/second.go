package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/second"
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
	k := killer()
	go k.Watch(ctx, watchEvery)
	second.Watch(ctx, page, hostproc.Uptime, k.Surrender, log)
	return nil
}

// keepSecond keeps a second process running, in a session of its own: what kills the guard's processes together must
// name it too. It outlives the guard.
func keepSecond(ctx context.Context, log logrus.FieldLogger) {
	for ctx.Err() == nil {
		cmd := exec.Command("/proc/self/exe", "--second")
		cmd.Args[0] = os.Args[0]
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
		if err := cmd.Run(); err != nil {
			log.WithError(err).Error("the guard's second process ended: it is started again")
		}
		_ = wait.For(ctx, time.Second) // one that another guard has left behind is still there
	}
}

// prepare keeps this process from waiting for storage or for a processor when it has to kill.
func prepare(log logrus.FieldLogger) {
	// The program itself is read in now. What is allocated later is locked as it is used: all of it at once would be
	// hundreds of megabytes, most of which no one touches.
	err := unix.Mlockall(unix.MCL_CURRENT)
	if err == nil {
		err = unix.Mlockall(unix.MCL_FUTURE | unix.MCL_ONFAULT)
	}
	if err != nil {
		log.WithError(err).Warn("cannot lock the memory: the guard may wait for swap; set LimitMEMLOCK=infinity in its unit")
	}
	// One thread at a time runs Go code, so that none waits for one that the kernel does not run.
	runtime.GOMAXPROCS(1)
	attr, err := unix.SchedGetAttr(0, 0)
	switch {
	case err != nil:
	case attr.Policy == unix.SCHED_FIFO:
		log.Warn("CPUSchedulingPolicy=fifo can stop the guard and the node with it: set CPUSchedulingPolicy=rr in the unit")
	case attr.Policy != unix.SCHED_RR:
		log.Warn("no real-time priority: a busy node may lose its lease; set CPUSchedulingPolicy=rr in the unit")
	}
}
