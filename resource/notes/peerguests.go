package notes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// PeerGuests is peers/URI.json: what came of the last question to a peer's libvirt. A start writes and reads it: many
// begin at once after a crash, and each has to ask the same peers. It counts only for starts that began before the
// question; see [PeerGuests.Covers]. Nobody removes it. Times are [hostproc.Uptime].
type PeerGuests struct {
	Asked  time.Duration      `json:"asked"`            // before the question
	Guests []libvirt.Resident `json:"guests"`           // valid when Why is empty
	Why    string             `json:"why,omitempty"`    // why there is no answer
	Silent time.Duration      `json:"silent,omitempty"` // before the last full question that got none
}

func (p PeerGuests) isWhole() bool { return true }

// Covers reports whether what came of the question counts for one who began to look at the time since.
func (p PeerGuests) Covers(since, now time.Duration) bool {
	return p.Asked >= since && p.Asked <= now && p.Asked > 0
}

// Next is the note about a question that was put at the time asked; full reports that it had all of its patience.
func (p PeerGuests) Next(asked time.Duration, full bool, guests []libvirt.Resident, err error) PeerGuests {
	next := PeerGuests{Asked: asked, Guests: guests}
	if err == nil {
		return next
	}
	next.Why = err.Error()
	switch {
	case !errors.Is(err, context.DeadlineExceeded): // it took no time, and costs the next one none
	case full:
		next.Silent = asked
	default:
		next.Silent = p.Silent
	}
	return next
}

// Answer is what the peer said.
func (p PeerGuests) Answer() ([]libvirt.Resident, error) {
	if p.Why != "" {
		return nil, fmt.Errorf("asked by another start: %s", p.Why)
	}
	return p.Guests, nil
}
