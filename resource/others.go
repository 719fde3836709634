package resource

import (
	"context"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/observe"
)

// othersQuiet is for how long no other guest may be leaving before a failure is reported: the next one may just begin.
const othersQuiet = time.Second

// awaitOthers delays the answer of a migrate_to that failed until no other guest is leaving this node, at most for half
// of the time of a migration. Pacemaker ends its transition at a failure. In the next one it stops a guest, and starts
// it again, whose migrate_to has succeeded and whose migrate_from has not, if the new plan has another node for it
// ("Forcing recovery … because it can no longer migrate", pcmk__create_actions): one guest that cannot move live would
// cost others their live migration.
func (m *migrator) awaitOthers(ctx context.Context) {
	if !m.Pacemaker {
		return
	}
	ctx, cancel := m.at(ctx, m.budget.migrate/2)
	defer cancel()
	others := m.notes.leavingGuests()
	if len(others) == 0 {
		return
	}
	m.Log.Infof("the failure is reported when the others have arrived: %s", strings.Join(others, ", "))
	for last := time.Now(); time.Since(last) < othersQuiet; {
		if wait.For(ctx, observe.PollInterval) != nil {
			return
		}
		if len(m.notes.leavingGuests()) > 0 {
			last = time.Now()
		}
	}
}
