// Package pkitest makes certificates for tests and for a lab: an authority, and one certificate for each node, in the
// files that QEMU looks for (qemu-doc, "TLS setup for network services"; libvirt's qemu.conf,
// migrate_tls_x509_cert_dir).
package pkitest
