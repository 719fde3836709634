package scenario

import "time"

// Seen are the copies of a guest and its events so far, in order of time, as the observer of its hypervisor has them.
// It may be called within [Runner.Run].
func (r *Runner) Seen(guest string) (copies []Copy, events []Event) {
	for _, c := range r.seen.Copies() {
		if c.Guest == guest {
			copies = append(copies, c)
		}
	}
	for _, e := range r.seen.Events() {
		if e.Guest == guest {
			events = append(events, e)
		}
	}
	return copies, events
}

// MaxExecuting is the largest number of copies of a guest that executed at the same instant since an observer first
// looked. It may be called within [Runner.Run].
func (r *Runner) MaxExecuting(guest string) int {
	return maxExecuting(guest, r.seen.Copies(), r.seen.Events())
}

// MaxExecutingBetween is MaxExecuting for what happened between two instants.
func (r *Runner) MaxExecutingBetween(guest string, from, to time.Time) int {
	return maxExecutingBetween(guest, r.seen.Copies(), r.seen.Events(), from, to)
}
