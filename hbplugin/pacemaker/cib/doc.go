// Package cib reads the documents of Pacemaker's: its CIB, as "cibadmin --query" prints it, where its resources
// are, as "crm_mon --output-as=xml" prints it, and what "crm_simulate --output-as=xml" makes of a CIB. The lists of
// nodes and resources in the last two have one form and one reader.
//
// It answers what the documents say: is fencing configured, may this resource be moved
// live, on which node is it now. What a rule decides is told as unknown: whether the rule holds depends on the time
// and the node. [WithStandby] writes a copy of a CIB in which a node is in standby. The package runs nothing.
package cib
