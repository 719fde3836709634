// Init is process 1 of a lab guest: it turns a bare kernel and an initramfs into
// a machine that answers the blackout probe and keeps a record on its disk.
//
// In order it mounts proc, sysfs and devtmpfs, loads the modules listed in
// /modules/order, gives eth0 its address, starts the light reflector (package
// light) on port 7007, "/blackout serve" on port 7008 and, where it has one, a game
// server on UDP port 8303 (each again whenever it ends), writes the disk record of package disk every 100 ms, serves the
// ledger of package ledger on port 7010 where it has one, answers
// each connection to TCP port 7009, once the light reflector accepts connections, with one line of JSON (package
// guest's Status) and powers the machine off when its power button is pressed.
//
// The kernel command line configures it:
//
//	vmferry.ip=10.77.0.101/24    address of eth0 (required)
//	vmferry.gw=10.77.0.1         default gateway
//	vmferry.name=web1            name, for the console
//	vmferry.disk=/dev/vda        disk to keep the record on; none without it
//	vmferry.ledger=/dev/vda      disk to keep the ledger on; none without it
//	vmferry.database=/dev/vda    ext4 file system of a database, which keeps the ledger in place of a disk
//	vmferry.game=1               start /game/server, which the initramfs must have
//	vmferry.interval=100ms       time between two records, 1ms to 1h
//
// SIGTERM powers off as the button does, SIGINT (Ctrl-Alt-Del) reboots. Under the
// names poweroff and reboot the program sends these to process 1: the kernel runs
// /sbin/poweroff or /sbin/reboot when Xen's toolstack asks for it. A guest
// that cannot come up says why on its console and powers off.
//
// Guests run on emulated processors, so the program stays small: no fmt, no
// encoding/json, no polling, one running thread (GOMAXPROCS=1), no garbage
// collection below a memory limit. It has no use outside a virtual machine and,
// under its own name, refuses to run as any other process than 1.
package main
