// Package blackout measures for how long the clients of a service got no
// answer, and in which direction the packets were lost. It needs neither root
// nor a hypervisor.
//
// A reflector, see package reflector, runs where the service runs, for example in the guest that is
// migrated, so that its counters travel with it. [Watch] runs where clients
// are. It sends a numbered probe to each target in every interval, and returns
// a [Report]; [ReadReport] reads one back. Services that know nothing of it can
// be probed as well, see [Config].Targets; nothing is known of directions then.
//
// # What a blackout is
//
// A blackout is the longest time in which an answer was due and none came:
//
//	probes  a  b  c  d  e  f  g  h  i  j  k        one in every interval I
//	        |  |  |  x  x  x  x  x  |  |  |        x: no answer to this one
//	answers  a  b  c                 i  j  k
//	                  ^             ^
//	                  due           first answer
//	                  |<-- blackout -->|
//
// After an answer, the next one is due as much later as the next probe was
// sent after the one just answered: I, unless the sender was late. The
// blackout starts when the next answer is due and ends when any answer comes.
// Measured between arrivals, the round trip cancels out, and a network that is
// dark for a time D is reported as D, give or take one interval.
//
// The same rule serves where answers are held up rather than lost, as by TCP
// or by a bridge that queues for a port:
//
//	probes  a  b  c  d  e  f  g  h  i  j  k
//	answers  a  b  c               d
//	                               e
//	                               f  … all at once
//	                  |<-blackout->|
//
// Nothing is said about which probe an answer belongs to: a client that gets
// an answer is served. A late or reordered answer therefore ends a blackout; a
// duplicate does not, as it may have come from anywhere.
//
// Before the first answer nothing is due: that time is first_answer_ms. A
// target that never answers has been out for the whole run. An outage at the
// end of the run is open, and lasts up to the last slot in which a probe could
// be sent.
//
// # What the error is
//
// The true start lies between the last probe that was answered and the next,
// and the true end between the last one that was not and the next. An outage
// is therefore uncertain by the wider of those two spacings, by no less than
// the interval, and by how late its two answers may have been read where the
// kernel gave no time stamp. One that a new TCP connection ended may have
// ended earlier by the time between two attempts; that is added. A silence
// that is not longer than its error is not reported as a blackout but as
// below_error_ms.
//
// A reflector that was started again asks for the cookie of its clients first.
// That is a sign of life, and ends an outage.
//
// A slot in which the sender itself was late is skipped and not made up for in
// a burst. Time in which nothing was sent is never part of a blackout: it moves
// the due time, and widens the error. That holds too when the sender is kept
// from running between reading the clock and sending: the clock is read again
// afterwards, and a spacing is the most that it can have been.
//
// Where such times are long they are listed as faults of the prober. After its
// machine was suspended nothing is due until the next answer, as at the start.
//
// # The kernel below a service
//
// Where a TCP target is silent, either its program or all of its machine is. The program's kernel shows which: it
// acknowledges what it receives without the program. In every slot TCP_INFO of each connection (tcp(7)) is read, and
// kernel_blackout_ms is the longest time in which an acknowledgement was due and none came, by the definition above:
// an acknowledgement counts as the answer to the newest probe that was sent before it arrived. The kernel
// counts in ticks of its clock (4 ms, mostly), and reports only the newest one. Both ends of such a time are therefore
// known to a tick, earlier or later, which is part of kernel_error_ms; of several acknowledgements within a slot the
// last one counts.
// A kernel whose program does not read delays acknowledgements, by up to 40 ms on Linux: that is not taken off.
//
// # Which way a probe was lost
//
// Every answer carries how many distinct probes of this session the reflector
// has received. What was sent and not received was lost on the way out; what
// was received and not answered, on the way back. Both are running counts, so
// the first answer after an outage of any length accounts for all of it. A reflector
// that was started again has another random instance and counts from one: what
// its predecessor left unanswered counts as lost out.
//
// # Clocks
//
// Every duration is taken on the monotonic clock. Arrivals are the kernel's
// receive time stamps where those make sense. Times of day are the start of the
// run plus monotonic time; clock_step_ms is how far the wall clock moved away
// from that meanwhile.
//
// # What others can do to it
//
// Probes and answers are not authenticated. An attacker who reads the traffic can forge
// answers and challenges. A watch bounds the memory and the packets that it spends on
// them, and ignores impossible counts, but its figures can be wrong then. What a
// reflector does for strangers is in package reflector.
//
// # How it is built
//
//	blackout    Watch; the names of the parts below by alias
//	probe       Config; sends probes and receives answers: loop, sockets, connections
//	reflector   answers probes: cookies, sessions, who makes room when there is none
//	outage      the arithmetic: outages with their errors, losses, round trips
//	report      what a run measured: types, JSON, table
//	endpoint    what a target is called
//	wire        what a probe, an answer and a challenge look like
//	socket      system calls for many packets at once
//
// Each imports only what is below it, and reflector neither outage nor report. What
// reads reports is beside them: view shows them, compare compares runs, breakdown lays
// the events of a migration under them.
package blackout
