package notes

import "time"

// utilizationRetry is how long Pacemaker is left alone after it did not take a value.
const utilizationRetry = 5 * time.Minute

// Utilization is utilization/ID.json: what Pacemaker was told about the guest's size since the guest came here. A monitor
// writes and reads it, so that it asks Pacemaker only about what has changed. It is removed when the guest has left: where
// it comes to next, Pacemaker is told again.
type Utilization struct {
	Told   map[string]string `json:"told"`   // by attribute; empty for one that was removed
	Denied map[string]string `json:"denied"` // values that would not fit on this node, and are not set
	Failed time.Time         `json:"failed"` // when Pacemaker last did not take a value, or there was no room for one
}

func (u Utilization) isWhole() bool { return u.Told != nil }

// IsSet tells whether Pacemaker was told this value of an attribute.
func (u Utilization) IsSet(name, value string) bool {
	told, ok := u.Told[name]
	return ok && told == value
}

// MayRetry tells whether Pacemaker may be asked again.
func (u Utilization) MayRetry(now time.Time) bool { return !isWithin(utilizationRetry, u.Failed, now) }
