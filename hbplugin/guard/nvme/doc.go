// Package nvme revokes a node's access to NVMe namespaces that several nodes share, by persistent reservations and
// nvme-cli. Each node registers a key of its own; a reservation of the type "write exclusive, all registrants" denies
// writes to a node whose key is not registered, and outlives every node but the last. Start with [Driver].
//
// It has been tested with a program in nvme-cli's place, and not on hardware.
package nvme
