package main

import (
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/guest/disk"
)

// statusAddr is where the status line is served.
const statusAddr = ":7009"

// answerTimeout bounds the time that one connection may take.
const answerTimeout = 5 * time.Second

// retryPause keeps a failure that repeats from taking the whole processor.
const retryPause = 100 * time.Millisecond

// state is what the status line is made of.
type state struct {
	bootID     string
	journal    *disk.Journal // nil without a disk
	diskFailed bool          // the disk could not be opened
}

// serveStatus starts to answer connections and returns. The first answer waits until the guest is in service: who asks
// a guest whether it is back means what its clients use.
func serveStatus(s *state, reflector string) error {
	l, err := net.Listen("tcp4", statusAddr)
	if err != nil {
		return err
	}
	go func() {
		awaitService(reflector)
		for {
			c, err := l.Accept()
			if err != nil {
				time.Sleep(retryPause)
				continue
			}
			go answer(c, s)
		}
	}()
	return nil
}

// awaitService waits until somebody accepts connections at addr.
func awaitService(addr string) {
	for {
		c, err := net.DialTimeout("tcp4", addr, answerTimeout)
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(retryPause)
	}
}

func answer(c net.Conn, s *state) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(answerTimeout)) != nil {
		return
	}
	var stats disk.Stats
	if s.journal != nil {
		stats = s.journal.Stats()
	}
	if s.diskFailed {
		stats.WriteErrors++
	}
	c.Write(statusLine(s.bootID, stats, uptime())) //nolint:errcheck // the asker sees the missing line
}

// statusLine is the JSON that guest.Ask decodes.
func statusLine(bootID string, d disk.Stats, up time.Duration) []byte {
	line := append([]byte(`{"boot_id":`), strconv.Quote(bootID)...)
	for _, field := range []struct {
		name  string
		value uint64
	}{
		{"counter", d.Counter},
		{"boots", d.Boots},
		{"disk_counter_at_boot", d.CounterAtBoot},
		{"foreign_writes", d.ForeignWrites},
		{"write_errors", d.WriteErrors},
		{"uptime_ms", uint64(up.Milliseconds())},
	} {
		line = append(line, `,"`+field.name+`":`...)
		line = strconv.AppendUint(line, field.value, 10)
	}
	return append(line, "}\n"...)
}

// uptime is the time since the kernel started, including the time in which the
// guest was stopped by its host.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
