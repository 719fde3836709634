// Package reach measures what of the ping list a node reaches: gateways, switches, heads of the storage. [Count] smooths
// the answers, so that one lost packet in the midst of a split does not decide who surrenders.
package reach
