// Package endpoint is one end of a live migration as the engine sees it: the connection to a node's libvirt, which is
// made again when it breaks ([Endpoint]), what libvirt may be asked there ([Host]), and what it says of the guest
// ([Observation]), reduced to what a decision needs ([End]).
//
// Package libvirt/client makes the real connections.
package endpoint
