// Init is process 1 of the initramfs of a lab's domain 0: it puts the root together and hands over
// to systemd.
//
// It loads the modules that /modules/order lists, mounts the disks vda (the image) and vdb (the product),
// which are only read, and vdc (the node's own), lays them over each other as /, mounts the shared folder
// at /shared through 9p, and becomes /sbin/init. Whatever goes wrong is printed
// on the console, and the machine is switched off: the lab then says that it does not boot.
package main
