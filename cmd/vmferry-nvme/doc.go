// Command vmferry-nvme revokes a node's right to write to NVMe namespaces that the nodes share, and gives it back, by
// persistent reservations. The guard runs it.
package main
