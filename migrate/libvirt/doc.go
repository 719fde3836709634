// Package libvirt is libvirt's vocabulary in Go: the states of a domain, what is said of a
// migration, and the errors. It holds no connection and no C.
//
// Start with [Status], what libvirt knows of a domain at one instant, and [Error] with its
// sentinels. Package client makes the connections that speak these words; whoever judges
// or decides needs only this package, and can be built and tested without libvirt.
package libvirt
