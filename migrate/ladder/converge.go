package ladder

// Converge is pre-copy with QEMU's auto-converge: the guest is slowed down until it converges.
const Converge Rung = "converge"

var converge = Spec{
	Name: Converge, Live: true, After: Live, Needs: []Need{JobControl}, Throttle: autoConverge,
	Text: "also slows it down when it writes faster than the network carries.",
}

// autoConverge is QEMU's: after two passes that did not converge 20, and after every two more another 10.
func autoConverge(pass int) int {
	if pass <= 2 {
		return 0
	}
	return min(20+10*((pass-3)/2), 99)
}
