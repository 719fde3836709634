package resource

import _ "embed"

// Usage lists the actions in one line.
const Usage = "start, stop, monitor, status, migrate_to, migrate_from, validate-all, meta-data or usage"

//go:embed meta-data.xml
var metaData string

// MetaData is the agent's description for the cluster manager. It satisfies both
// the OCF 1.1 schema of Pacemaker and the 1.0 DTD that ocf-tester checks against, which is why it has
// "unique" and no "unique-group".
func MetaData() string { return metaData }
