// Package route says how a peer's libvirt is reached, and where a guest's memory is sent on the way there.
//
// [Config] is what the parameters say of it; [Config.To] is the rule, which asks nobody. [Table] is the ways that one
// action has looked up. A migration, the question to a peer before a start, and what is reported of both beforehand
// reach a node in the same way.
package route
