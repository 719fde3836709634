package migrate

import (
	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/slot"
)

// What a move is recorded as: see package record.
type (
	Record       = record.Record
	Outcome      = record.Outcome
	Verification = record.Verification
	Blackout     = record.Blackout
	Step         = record.Step
	RungTime     = record.RungTime
	Forecast     = record.Forecast
	CopiedDisk   = record.CopiedDisk
)

// RecordSchema is the version of Record's form.
const RecordSchema = record.Schema

// DefaultBudget is the blackout that a move aims to stay below where nobody says another.
const DefaultBudget = convergence.DefaultBudget

// The outcomes, see package record.
const (
	Moved    = record.Moved
	Stayed   = record.Stayed
	Unknown  = record.Unknown
	Ended    = record.Ended
	Restored = record.Restored
)

// What bounds the moves at once: see package slot.
type (
	Slots = slot.Pool
	Slot  = slot.Slot
)

// MostAtOnce is the most migrations that ever leave a node at once.
const MostAtOnce = slot.MostAtOnce
