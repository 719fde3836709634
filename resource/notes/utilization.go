package notes

import "time"

// utilizationRetry is how long nothing is set after Pacemaker refused a value.
const utilizationRetry = 5 * time.Minute

// Utilization is utilization/ID.json: the utilization attributes that this node has set for the guest. A monitor writes
// and reads it, so that it calls Pacemaker only for what has changed. It is removed when the guest has left: the next
// node sets the attributes again.
type Utilization struct {
	Set    map[string]string `json:"told"`   // by attribute; empty for one that was removed
	Denied map[string]string `json:"denied"` // values that would not fit on this node, and are not set
	Failed time.Time         `json:"failed"` // when Pacemaker last refused a value, or there was no room for one
}

func (u Utilization) isWhole() bool { return u.Set != nil }

// IsSet reports whether an attribute has this value by now.
func (u Utilization) IsSet(name, value string) bool {
	now, ok := u.Set[name]
	return ok && now == value
}

// MayRetry reports whether Pacemaker may be asked again.
func (u Utilization) MayRetry(now time.Time) bool { return !isWithin(utilizationRetry, u.Failed, now) }
