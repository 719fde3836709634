// Package version knows which version of vmferry a program is of. It imports little: the agent's front has it, too.
package version
