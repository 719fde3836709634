// Package cib reads two documents of Pacemaker's: its configuration, as
// "cibadmin --query --scope=configuration" prints it, and where its resources
// are, as "crm_mon --output-as=xml" prints it.
//
// It answers what the configuration says: is fencing configured, may this resource be moved
// live, on which node is it now. It runs nothing.
package cib
