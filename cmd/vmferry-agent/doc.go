// vmferry-agent is the resource agent ocf:vmferry:Domain: what the cluster manager
// executes as /usr/lib/ocf/resource.d/vmferry/Domain with one action as its
// argument. Everything it decides is in package resource; here are the
// surroundings: arguments, log, exit reason, and the real libvirt.
package main
