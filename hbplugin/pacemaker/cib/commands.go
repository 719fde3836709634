package cib

import "github.com/vmferry/vmferry/migrate/shellword"

// SetMeta is what to type to set a meta attribute of a resource.
func SetMeta(id, name, value string) string {
	return shellword.Line("crm_resource", "--resource", id, "--meta", "--set-parameter", name,
		"--parameter-value", value)
}

// Cleanup is what to type to forget the failures of a resource on a node, empty for all nodes.
func Cleanup(id, node string) string {
	args := []string{"crm_resource", "--cleanup", "--resource", id}
	if node != "" {
		args = append(args, "--node", node)
	}
	return shellword.Line(args...)
}
