package qmp

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// Side says whose event it is.
type Side string

// The two ends of a migration.
const (
	Source Side = "source"
	Target Side = "target"
)

// Observed is one event of QEMU together with our own receipt of it.
type Observed struct {
	qmp.Event
	Side     Side
	Received time.Time // our clock, the same one for both sides
}

// Parse makes an Observed from what libvirt delivers: the event's name, QEMU's stamp
// and the event's data as a JSON object, empty where it has none.
func Parse(side Side, name string, seconds int64, micros uint, details string, received time.Time) (Observed, error) {
	o := Observed{Side: side, Received: received}
	o.Event.Event = name
	o.Timestamp.Seconds, o.Timestamp.Microseconds = seconds, int64(micros)
	if details == "" {
		return o, nil
	}
	if err := json.Unmarshal([]byte(details), &o.Data); err != nil {
		return Observed{}, fmt.Errorf("read the data of QEMU's event %q: %w", name, err)
	}
	return o, nil
}

// Stamp is QEMU's own time of the event, on the clock of its host.
func (o Observed) Stamp() time.Time {
	return time.Unix(o.Timestamp.Seconds, o.Timestamp.Microseconds*1000)
}

// Status is the migration's status in a MIGRATION event, empty in others.
func (o Observed) Status() string {
	if o.Event.Event != "MIGRATION" {
		return ""
	}
	s, _ := o.Data["status"].(string)
	return s
}

// Pass is the number in a MIGRATION_PASS event, 0 in others.
func (o Observed) Pass() int {
	if o.Event.Event != "MIGRATION_PASS" {
		return 0
	}
	n, _ := o.Data["pass"].(float64)
	if !(n >= 1 && n < 1<<31) {
		return 0
	}
	return int(n)
}

// Switching reports whether the event opens the switchover: from here until the guest runs
// again, nothing should ask the hypervisor for anything.
func (o Observed) Switching() bool {
	return o.Side == Source && (o.Event.Event == "STOP" || o.Status() == "pre-switchover" || o.Status() == "device")
}

// Cancelled reports whether the event says that the source's guest runs on
// there, because the switchover failed or was cancelled.
func (o Observed) Cancelled() bool {
	s := o.Status()
	return o.Side == Source && (o.Event.Event == "RESUME" || s == "failed" || s == "cancelled")
}

// Reboots reports whether the guest itself reset or switched off. The SHUTDOWN that
// QEMU emits when libvirt ends the source's process after a migration does not count.
func (o Observed) Reboots() bool {
	switch o.Event.Event {
	case "RESET":
		return true
	case "SHUTDOWN":
		guest, _ := o.Data["guest"].(bool)
		return guest
	}
	return false
}
