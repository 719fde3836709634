package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Every thread gets its turn: with SCHED_FIFO the guard has stopped whole nodes, as a thread of the Go runtime that waited
// for another one without a sleep kept it from the processor.
func TestRealTime(t *testing.T) {
	const mark = "VMFERRY_TEST_REALTIME"
	if os.Getenv(mark) == "" { // in a process of its own: there is no way back
		cmd := exec.Command(os.Args[0], "-test.run=^TestRealTime$", "-test.v")
		cmd.Env = append(os.Environ(), mark+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := realTime(); err != nil {
		t.Skip(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_RR || attr.Priority != priority {
		t.Errorf("%+v, %v", attr, err)
	}
}

// A second process that is there is not started again and again: each start takes the processor from others.
func TestKeepSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetOutput(io.Discard)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		left, starts := time.Now().Add(10*time.Second), 0 // of an earlier guard
		keepSecond(ctx, func() bool { return time.Now().Before(left) }, func() error {
			if starts++; starts == 1 {
				return errors.New("killed")
			}
			<-ctx.Done()
			return nil
		}, log)
		if starts != 2 {
			t.Errorf("%d starts, want 2", starts)
		}
	})
}

func TestFileMappings(t *testing.T) {
	const maps = `55ac83000000-55ac83170000 r--p 00000000 fd:00 42     /usr/sbin/vmferry-guard
55ac83170000-55ac8369e000 r-xp 00171000 fd:00 42     /usr/sbin/vmferry-guard
c000000000-c000400000 rw-p 00000000 00:00 0
c000400000-c004000000 ---p 00000000 00:00 0
7f2f38070000-7f2f38090000 ---p 00000000 fd:00 43     /usr/lib/x86_64-linux-gnu/libc.so.6
7ffd1c5f2000-7ffd1c613000 rw-p 00000000 00:00 0      [stack]
`
	want := []mapping{{0x55ac83000000, 0x55ac83170000}, {0x55ac83170000, 0x55ac8369e000}}
	if got := fileMappings(maps); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
