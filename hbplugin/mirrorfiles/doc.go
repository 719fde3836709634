// Package mirrorfiles copies files that are no guest's from one node to another, by rsync over ssh: [Engine.Send] makes
// a round, and [Engine.Receive] is the other end. The rules are those of package mirror: a manifest for each path, and
// the highest epoch is the current copy.
//
// Which node has the truth is the operator's word. The cluster makes sure that a guest is started once, which says where
// the truth is. Files can be written on both nodes at any time, and no rule but "the newest" would be left, which
// compares two clocks. The epoch rises where a node has a copy, and its configuration says that it has the truth now.
//
//	receive → rsync writes PATH.vmferry-staging → all is on the disk → switch → exchanged with PATH → manifest
//
// The source asks for the switch when its rsync has ended well: the rsync at the other end does not learn that a file
// could not be read. What PATH was is in the staging directory then, and the next round begins with it. A copy that no
// round has made is kept as PATH.vmferry-old. For that the new one gets this name first, and is exchanged then: cut short
// at any place, PATH is whole, and nothing is removed.
package mirrorfiles
