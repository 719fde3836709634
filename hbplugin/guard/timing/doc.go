// Package timing is the arithmetic of the guard: the times that an administrator may set, what follows from them, and
// the longest time that each fault can take. The protocol, the model and the manual take their numbers from here.
//
// A lease is renewed every Renew. Its holder kills its guests when the last good renewal began SelfKill ago, and has
// proven them gone at most Kill later. Another node takes a lease as expired when it has seen no renewal for
// [Times.Expiry], which is longer than both together on any two clocks whose rates differ by at most Drift:
//
//	expiry = (self-kill + kill) · (1 + drift) / (1 − drift) + poll + margin
package timing
