// Package fence is the lab's fence agent: the program that Pacemaker in a
// node runs to cut the power of another node.
//
// It speaks the fence agent API (options as lines name=value on standard
// input, metadata as XML) on one side and the supervisor's power switch on the
// other. The switch says "off" only after it has seen that nothing of the node
// is left, which is what makes the agent's exit code 0 a proof.
package fence
