package ocf

import _ "embed"

//go:embed meta-data.xml
var metaData string

// MetaData is the agent's description for the cluster manager. It satisfies the OCF 1.1 schema of
// Pacemaker, and with a declaration of its own for the attributes that are new in 1.1, the
// 1.0 DTD that ocf-tester checks against. That DTD leaves no room for the element
// "deprecated", so that deprecation is told in words.
func MetaData() string { return metaData }
