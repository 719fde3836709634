// Package guardsim runs the guard's real protocol on simulated nodes: clocks that drift, a shared disk whose writes are
// late, lost or torn, a link that is cut in one direction or both, nodes that hang, crash and come back, a cluster manager
// that loses members, fences and starts guests. All of it follows from one seed.
//
// [Run] plays one schedule and says what it broke: a guest of which two copies could write, two nodes that both
// surrendered to each other's claim, a guest that did not come back after all faults were over.
package guardsim
