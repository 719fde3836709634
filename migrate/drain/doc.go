// Package drain plans how a node is emptied before a deadline: in what order its guests leave, how many
// at once, and by what means. It decides and does nothing; whoever moves the guests asks it.
//
// Start with [Plan] for a plan on paper, and with [Queue] where guests really move: callers
// enter in whatever order the cluster manager makes its calls, and get their slots by the same plan,
// made again whenever something happens. [predict.WithNeed] says how one move will go.
//
// # Prediction
//
// Pre-copy sends the memory, then what was written meanwhile, and so on. A pass of b bytes at rate r takes
// b/r, and leaves min(dirty rate × b/r, working set). The guest is stopped after the first pass whose
// rest, with the device state, takes no longer than the downtime limit. The limit is doubled
// after each pass but the first three, up to what the budget leaves beside the hand-over. A real move
// comes out like that when its engine is given [Prediction].Limit from its first moment on.
//
// # How guests share a link
//
// The less bandwidth a guest has, the more it writes during each pass, the longer its last copy
// takes, and the more bytes are sent in all (see [predict.WithNeed]). Two guests that share a link
// lose both ways. So where one guest can fill a link, one after the other is the best order for each
// pause and for the makespan at once: the link is never idle, and carries the fewest bytes. Being
// more at once pays in three places only, and the plan uses these:
//
//   - Set-up and tear-down leave the link idle. The next guest gets its slot as much earlier as its set-up
//     takes, so that its first byte follows the last of the one before. The link may be passed on
//     ([Turn.Copied]) while the caller still verifies.
//   - One migration may be unable to fill the link ([Link].Each). Then it has as many lanes as fill
//     it, each with an equal part that nobody else touches.
//   - Several links work side by side. A guest that is not bound to one takes that on which it is gone first.
//
// Clocks are not that exact: a set-up is quicker, a copy slower than predicted, and two meet on the
// link after all. So each guest has a number ([Step].AtOnce): with so many on the link it keeps its budget
// even when all send all the time, and even when they all come while it is stopped. There
// are never more under way than each of them allows. One that allows none beside it has the link to itself from
// set-up to switchover; that costs two set-ups of idle link, and such guests stand together.
//
// # Order
//
// Priority first, and nobody overtakes. Within a priority the long ones go first, which evens out
// the lanes' ends. When the window is too short for all, the short ones go first instead, so that the
// most guests leave. For each guest the first means of its ladder is taken that keeps the
// budget and ends in time. When there is none it is stranded: its step names the first means off the links for
// which there is time, and the last moment for it. Until then it may yet be moved.
//
// With one guest filling the link, every guest that allows others beside it, and set-ups that are shorter than
// copies, the makespan is the sum of the bytes over the bandwidth, and one set-up, the hand-overs and one tear-down. No
// plan can do with less than the first. A guest without company adds its idle set-ups; several lanes add at most the
// longest move of each priority.
//
// # The queue
//
// It has no goroutine: every call plans again, and so does one timer. It reckons with what happens:
//
//   - A move that is overdue has its end put off by a quarter of the time it took so far; when that is not
//     enough, nobody counts on it any more. Who waits for it is refused, and itself told to give up, in
//     time for what else can be done.
//   - A link that turns out to be slower or quicker is believed half, and those that wait are predicted again.
//   - A link that one migration does not fill, for whatever reason, is found out ([Options].Explore): the number that
//     copies at once is doubled, from one on, for as long as all together become quicker by that and each of them keeps
//     its budget, and never beyond what each is predicted to bear. On a link that is full this costs one doubling.
//     No more than one is set up beside them, however long that takes.
//   - A caller that gives up by himself before the guest would be gone ([Guest].Patience) has those go first who have
//     the time; he is refused only when his time is over.
//   - A caller that dies or fails releases its turn, and the next is granted.
//   - A link on which nobody is planned is given to a stranded guest until its last moment: the
//     prediction may be wrong.
//
// # Non-guarantees
//
// No budget is kept that the given numbers do not allow, nor one of a guest that is stopped in the moment in
// which the link itself breaks down. A released turn does not end a migration that libvirt continues with: that
// is the caller's business. Where guests go is the cluster manager's.
package drain
