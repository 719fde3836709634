package drainsim

import (
	"container/heap"
	"time"
)

// clock is time that passes only from one event to the next.
type clock struct {
	now    time.Time
	count  uint64
	events events
}

// event is something to be done at a time; do is nil once it is called off.
type event struct {
	at    time.Time
	order uint64 // of events at the same time, that of their making
	do    func()
}

// after has f called once d has passed.
func (c *clock) after(d time.Duration, f func()) *event {
	c.count++
	e := &event{c.now.Add(max(d, 0)), c.count, f}
	heap.Push(&c.events, e)
	return e
}

// callOff is without effect on an event that is over, or on nil.
func (e *event) callOff() {
	if e != nil {
		e.do = nil
	}
}

// run makes everything happen.
func (c *clock) run() {
	for len(c.events) > 0 {
		e := heap.Pop(&c.events).(*event)
		if e.do != nil {
			c.now = e.at
			e.do()
		}
	}
}

// queueClock is the clock as a queue wants it. then is called after each of the queue's own events.
type queueClock struct {
	*clock
	then func()
}

func (c queueClock) Now() time.Time { return c.now }

func (c queueClock) AfterFunc(d time.Duration, f func()) func() bool {
	e := c.after(d, func() { f(); c.then() })
	return func() bool {
		e.callOff()
		return true
	}
}

// events is a heap, the earliest first.
type events []*event

func (h events) Len() int      { return len(h) }
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(*event)) }

func (h events) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].order < h[j].order
}

func (h *events) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	return e
}
