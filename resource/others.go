package resource

import (
	"context"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// othersQuiet is for how long no other guest may be leaving before a failure is reported: the next one may just begin.
const othersQuiet = time.Second

// awaitOthers delays the answer of a migrate_to that failed until no other guest is leaving this node, at most to the end
// of ctx. Pacemaker ends its transition at a failure. In the next one it stops a
// guest, and starts it again, whose migrate_to has succeeded and whose migrate_from has not, if the new plan has
// another node for it ("Forcing recovery … because it can no longer migrate", pcmk__create_actions): one guest
// that cannot move live would cost others their live migration.
func awaitOthers(ctx context.Context, leaving func() []string, log logrus.FieldLogger) {
	others := leaving()
	if len(others) == 0 {
		return
	}
	log.Infof("the failure is reported when the others have arrived: %s", strings.Join(others, ", "))
	for last := time.Now(); time.Since(last) < othersQuiet; {
		if !pause(ctx, pollInterval) {
			return
		}
		if len(leaving()) > 0 {
			last = time.Now()
		}
	}
}
