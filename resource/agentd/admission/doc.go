// Package admission lets the node daemon decide in what order the guests leave, and how many at once.
//
// A cluster manager that empties a node asks for all migrations at the same time, each of
// an agent that knows nothing of the others. Each agent enters the daemon's queue ([Enter]),
// and the daemon ([Server]) grants turns by the plan of package migrate/drain.
//
// # The conversation
//
// It goes over the socket on which the daemon answers monitors (package wire): the same credentials
// are checked at both ends, each message has the same version, and each message is one line of JSON.
//
//	agent                           daemon
//	{"action":"enter", guest, …} →
//	                              ← {"word":"waiting"}    at once and each second, until
//	{"word":"load", …}            →                       when it was measured, before the grant or after
//	                              ← {"word":"granted", at_once, deadline}
//	                                 or {"word":"too-late", means, left, why}
//	                              ← {"word":"give-up"}    when the time for something else has come
//	{"word":"copied", pause}      →                       the guest runs at the target: the next may begin
//
// The turn lasts as long as the connection. Whoever ends it, also by SIGKILL, has given the turn back.
//
// # Without the daemon
//
// A daemon that is not there, is older, declines, falls silent or dies while an agent waits is
// no reason not to move: the agent goes by the slots alone (slot.Pool). It needs them with the daemon's
// grant too. So there are never two regimes that each think that the link is theirs: one that knows that n may be under
// way keeps out whoever would be one more, and one without the daemon moves alone.
package admission
