package main

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/notes"
)

// gather is how long the first of several guests waits for the others to ask for their turns: a
// cluster manager that empties a node makes its calls within a few hundred milliseconds.
const gather = 500 * time.Millisecond

// newDesk makes the queue of moves. A guest that is alone on its node waits for nobody.
func newDesk(guestsDir string, log logrus.FieldLogger) *admission.Server {
	return &admission.Server{Log: log, Gather: func() time.Duration {
		if guests, err := notes.GuestsIn(guestsDir).All(); err == nil && len(guests) < 2 {
			return 0
		}
		return gather
	}}
}

// deadline has the queue keep the window that an operator has set: then a guest that would leave too
// late is shut down in time and started elsewhere. Where none is set, what has not
// left when logind waits no longer continues moving while the cluster manager stops.
func deadline(c config.Config, desk *admission.Server) func(time.Time) {
	if c.Window <= 0 {
		return nil
	}
	return desk.SetDeadline
}
