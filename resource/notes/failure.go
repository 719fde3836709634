package notes

import "time"

// failureTime is for how long a failed migration explains a stop. The cluster manager requests that
// stop as soon as its other work is done; much later it is the operator's wish.
const failureTime = 15 * time.Minute

// Failure is stranded/ID.json: a migrate_to of the guest has failed here. That migrate_to writes it. The next stop
// reads it: it is a rung of the guest's ladder, and not the wish of an operator to have the guest down. It is removed
// when the guest has left this node, or was started on it.
type Failure struct {
	Guest string    `json:"guest"`
	Peer  string    `json:"peer,omitempty"`
	Why   string    `json:"why"`
	Check string    `json:"check,omitempty"` // of the pre-flight, that refused it
	At    time.Time `json:"at"`
}

func (f Failure) isWhole() bool { return true }

// ExplainsStop reports whether a stop of the guest follows from the failure.
func (f Failure) ExplainsStop(guest string, now time.Time) bool {
	return f.Guest == guest && now.Sub(f.At).Abs() < failureTime
}
