// Package observe finds out how a guest is on this node. It changes nothing.
//
// An [Observer] asks two sides: libvirt ([Hypervisor]), and the QEMU process as the kernel shows it or the domain as
// Xen lists it ([Processes]). One table turns the pair of answers, [LibvirtState] and [ProcState], into a [State]; see
// state.go. "Cannot tell" is a state of its own, and is never "not running".
//
// [Observer.Look] looks once. [Observer.WaitFor], [Observer.WaitUntil], [Observer.WaitStable] and
// [Observer.WaitReboot] look until an answer is of use.
package observe
