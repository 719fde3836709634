// Command vmferry-mirror mirrors the disks of this node's guests to another node, and is the other node's end of that, too.
// See vmferry-mirror(8), and package hbplugin/mirrord.
package main
