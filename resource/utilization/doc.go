// Package utilization keeps a resource's utilization attributes in Pacemaker's configuration as large as its guest is:
// cpu, host_memory and hv_memory, in processors and MiB.
//
// An [Updater] sets an attribute only when its value has changed, and only where the guest stays: Pacemaker would stop
// a guest that runs well for a value that nobody but the agent has requested. What is set is noted, see
// [notes.Utilization].
package utilization
