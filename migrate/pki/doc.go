// Package pki knows where QEMU has its certificates for migrations, and whether they are what a migration with TLS
// needs. It asks nobody: it reads qemu.conf and the certificates of this node, and says what another node must have.
package pki
