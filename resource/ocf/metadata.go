package ocf

import _ "embed"

//go:embed meta-data.xml
var metaData string

// MetaData is the agent's description for the cluster manager. It satisfies both
// the OCF 1.1 schema of Pacemaker and the 1.0 DTD that ocf-tester checks against, which is why it has
// "unique" and no "unique-group".
func MetaData() string { return metaData }
