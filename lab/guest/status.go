package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/vmferry/vmferry/lab/guest/disk"
)

// Ports on which every guest answers.
const (
	ReflectorPort = 7007 // the light reflector (lab/guest/light), UDP and TCP
	BlackoutPort  = 7008 // the full reflector, "blackout serve", UDP and TCP
	GamePort      = 8303 // the game server of a guest that has one, UDP
	StatusPort    = 7009 // the status line, TCP
)

// askTimeout bounds Ask when its context has no earlier deadline.
const askTimeout = 5 * time.Second

// maxStatusLine is more than a guest ever sends, in bytes.
const maxStatusLine = 4096

// Status is what a running guest says about itself.
type Status struct {
	// BootID is the kernel's random id of this boot: a live migration keeps it, a
	// restart does not.
	BootID string `json:"boot_id"`
	// Counter is the counter of the last record that is durable on the disk.
	Counter uint64 `json:"counter"`
	// Boots counts the boots of the guest's disk, this one included; 0 without a
	// disk.
	Boots uint64 `json:"boots"`
	// DiskCounterAtBoot is the counter that this boot found on the disk.
	DiskCounterAtBoot uint64 `json:"disk_counter_at_boot"`
	// ForeignWrites counts records found on the disk that this boot did not
	// write: anything but 0 means two copies of the guest ran.
	ForeignWrites uint64 `json:"foreign_writes"`
	// WriteErrors counts records that could not be written, a disk that could not
	// be opened included.
	WriteErrors uint64 `json:"write_errors"`
	// UptimeMS is the time since the guest's kernel started, in milliseconds.
	UptimeMS uint64 `json:"uptime_ms"`
}

// Ask reads the status line of the guest at addr (HOST:PORT, see StatusPort). It
// gives up when ctx ends, or after five seconds.
func Ask(ctx context.Context, addr string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return Status{}, fmt.Errorf("ask guest at %q: %w", addr, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	s, err := readStatus(c)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return Status{}, fmt.Errorf("ask guest at %q: %w", addr, err)
	}
	return s, nil
}

func readStatus(r io.Reader) (s Status, err error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxStatusLine)).ReadBytes('\n')
	if err != nil {
		return Status{}, fmt.Errorf("read status line: %w", err)
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return Status{}, fmt.Errorf("read status line %q: %w", line, err)
	}
	return s, nil
}

// ReadDisk returns the newest record on the raw or qcow2 image at path, as far
// as its guest has flushed it. It takes no lock and may look at the disk of a
// running guest. disk.ErrBlank: the guest never wrote.
func ReadDisk(path string) (disk.Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return disk.Record{}, fmt.Errorf("read guest disk: %w", err)
	}
	defer f.Close()
	view, err := disk.Guest(f)
	if err != nil {
		return disk.Record{}, fmt.Errorf("read guest disk %q: %w", path, err)
	}
	r, err := disk.Read(view)
	if err != nil {
		return disk.Record{}, fmt.Errorf("read guest disk %q: %w", path, err)
	}
	return r, nil
}
