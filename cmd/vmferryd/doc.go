// Vmferryd makes the shutdown of a cluster node wait until its virtual
// machines have been moved off it.
//
// It is a small daemon for systemd (Type=notify). Everything that lives in it
// is a [Task]; [serve] runs them together, tells systemd READY=1 once each of
// them is ready, which means that the shutdown delay lock is held, and ends
// them all when one ends. What is decided, and when, is in package
// hbplugin/shutdown; monitors of the agent's are answered by package
// resource/agentd, and its migrations get their turns from package
// resource/agentd/admission; guests are announced to the network by package
// migrate/announce; what becomes of guests is predicted by package hbplugin/prediction.
// This package reads the configuration, asks, and wires.
//
// The units, the drop-ins that order the shutdown, the reference configuration
// and the manual pages stand beside this file.
package main
