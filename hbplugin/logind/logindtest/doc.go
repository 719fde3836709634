// Package logindtest is a message bus of a test's own, with a logind and a
// systemd on it that do what the test says. It needs the program dbus-daemon
// and nothing else of systemd.
package logindtest
