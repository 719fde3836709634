package migrate

import (
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// climb goes on to a rougher rung; a gentler one, or the same, changes nothing.
func (m *mover) climb(to ladder.Rung) {
	if m.rung != "" && to.Compare(m.rung) <= 0 {
		return
	}
	m.leaveRung(nil)
	m.rung, m.rungBegan = to, time.Now()
}

// leaveRung notes how long the present rung took, and why it was left, nil where there is more to try.
func (m *mover) leaveRung(why error) {
	if m.rung == "" {
		return
	}
	r := RungTime{Rung: m.rung, MS: millis(time.Since(m.rungBegan))}
	if why != nil {
		r.Error = why.Error()
	}
	m.rec.Rungs = append(m.rec.Rungs, r)
}
