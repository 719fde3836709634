// Package agentd answers monitors inside the node daemon, on a connection to libvirt that it
// keeps open.
//
// Start with [Server]: for each request of an agent (package wire) it runs the very same
// [resource.Agent] that the agent's full program would run, with the caller's parameters. Where the guest runs it sends
// back that, and the log lines; any other verdict is the agent's own to give. [Pool] is the connections. Migrations,
// which use the same socket, are passed on to package admission.
//
// # What is declined
//
// The caller is sent away, and looks for itself, where the daemon might not see what the caller
// sees: a config file that the daemon may not read, or a libvirt that is not this
// system's own. So it is where a monitor is to do more than to look, as with monitor scripts;
// where too much is asked at once; and where the last monitor of the same resource is still under way. A guest that is
// not seen to run is declined too: the daemon's unit hides from it what the agent sees (see package hostproc).
//
// # A libvirt that hangs
//
// Calls to libvirt cannot be aborted. The daemon waits for each a few seconds, then goes
// by the guest's process, and lets the call be. A [Pool] bounds how many such calls
// there are: for each libvirt a few, for each guest one, and while libvirt has not answered
// of again one at a time tries again; all others go by the process at once. Each libvirt
// has its own bound, so that one which hangs disturbs no monitor of guests on another.
package agentd
