package ocf

import _ "embed"

//go:embed meta-data.xml
var metaData string

// MetaData is the agent's description for the cluster manager. It satisfies the OCF 1.1 schema of
// Pacemaker. ocf-tester validates with the DTD that the text names, which is ours, since the
// specification has none for 1.1; it is installed with the agent.
func MetaData() string { return metaData }
