package check

import (
	"cmp"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

// resources: does each guest's configuration allow that it is moved live? Those that are
// elsewhere count too: they may come here.
func resources(o *Observed, f *findings) {
	for i := range o.Claims {
		c := &o.Claims[i]
		before := len(*f)
		for _, p := range c.Environ.Problems {
			if !c.IsRuled(p.Param) { // else the rule may set it right
				f.add(c.Resource, Problem, "parameter "+p.Param+": "+p.Err.Error(), "correct it")
			}
		}
		if c.Manager == config.Pacemaker {
			metaAttributes(c, f)
		}
		savedState(c, o.SaveDirs[c.Resource], f)
		if c.Guessed {
			f.add(c.Resource, Warning, fmt.Sprintf("its file %q cannot be read on this node", c.Environ.Params.File()),
				"put the file on every node, or on shared storage")
		}
		if len(*f) == before {
			f.add(c.Resource, OK, "its configuration allows a live migration", "")
		}
	}
}

// savedState: can the guest be saved from here?
func savedState(c *inventory.Claim, d saveDir, f *findings) {
	name, dir := saveDirOf(*c)
	switch {
	case d.missing:
		f.add(c.Resource, Problem, fmt.Sprintf("its %s %q is not a directory on this node", name, dir),
			"mount the storage that all nodes share there, or create it")
	case d.exposed != nil:
		f.add(c.Resource, Problem, fmt.Sprintf("it is not saved to its %s: %v", name, d.exposed), "")
	}
}

// leastMove is the least time that a migration should be given: Pacemaker's own
// default of 20 s moves no guest of some gigabytes, and a migration that is cut
// short ends in a restart.
const leastMove = time.Minute

// metaAttributes: does Pacemaker migrate the guest, and give it the time?
func metaAttributes(c *inventory.Claim, f *findings) {
	live := c.Environ.Params.Ladder.MovesLive()
	known := !c.IsRuled("allow-migrate")
	switch migrates := cib.Bool(c.Meta["allow-migrate"], false); {
	case migrates && !live:
		f.add(c.Resource, Warning, "Pacemaker tries to migrate it, which its ladder does not name",
			"add live to its ladder, or set its meta attribute allow-migrate to false")
	case c.IsPinned() && live:
		f.add(c.Resource, Warning, "is never moved live: allow-migrate is false",
			"if that is not meant, type: "+cib.SetMeta(c.Resource, "allow-migrate", "true"))
	case !migrates && live && known:
		f.add(c.Resource, Problem, "is stopped and started elsewhere, and not moved live: allow-migrate is not set",
			"type: "+cib.SetMeta(c.Resource, "allow-migrate", "true"))
	}
	limit, known := cib.Span(cmp.Or(c.Timeouts["migrate_to"], "20s"))
	if known && limit < leastMove && !c.IsRuled("migrate_to") {
		f.add(c.Resource, Warning,
			fmt.Sprintf("its migration may take %s only, and what takes longer ends in a restart", limit),
			"give its operation migrate_to a timeout of 120s or more")
	}
}
