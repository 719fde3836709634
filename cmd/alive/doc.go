// Package alive tells systemd's watchdog that a daemon is alive.
package alive
