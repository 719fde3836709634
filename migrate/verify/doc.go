// Package verify decides where a guest runs after a migration.
//
// A return code is never believed. Both ends are asked, and [Decide] is a pure function from their answers and from
// what QEMU's events said ([Evidence]) to a [Verdict]. What is not final is asked again while there is time: the ends
// are asked one after the other, and libvirt tidies up for a moment after a migration.
//
//	source \ target   running            paused             absent                    no answer
//	running           unknown (both!)    stayed, not final  stayed                    stayed, unless handed over
//	paused            moved              unknown            resume, and then stayed,  unknown
//	                                                        unless handed over
//	absent            moved              unknown            unknown                   unknown
//	no answer         moved, if handed   unknown            unknown                   unknown
//	                  over; not final
//
// "stayed" needs the migration to have ended. A guest that was paused on purpose before it was moved is moved, or
// stays, paused. A guest in post-copy has its memory at both ends: it is neither moved nor stayed until that is done.
//
// What must hold: "moved" means that the target's libvirt said that the guest runs there, and nothing says that it runs
// at the source. A guest is resumed at the source only where the target answered that it has none and cannot have run
// it.
package verify
