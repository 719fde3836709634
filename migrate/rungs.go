package migrate

import (
	"github.com/vmferry/vmferry/migrate/ladder"
)

// RungTime is the time that was spent on one means of the guest's ladder.
type RungTime struct {
	Rung  ladder.Rung `json:"means"`
	MS    float64     `json:"ms"`
	Error string      `json:"error,omitempty"` // why it did not carry the guest
}
