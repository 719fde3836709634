package outage

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// timeline is a drawing of a run: one column is a millisecond, letters are
// probes, a dot is nothing. A probe is in the column in which it was sent,
// in which the reflector received it, and in which its answer arrived; what
// arrives in one column together is in brackets. The reflector counts in
// the order of its row; instances tells by a digit which one received what
// is above it, and may be left out.
type timeline struct {
	sent, received, instances, answers string
}

// draw plays a timeline into a tracker with an interval of 1 ms and a
// threshold of 3 ms, and returns it with the time at which the drawing ends.
func (tl timeline) draw(t *testing.T) (*Tracker, time.Duration) {
	t.Helper()
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	packets := tl.reflect()
	sent, answers := columns(tl.sent), columns(tl.answers)
	end := max(len(sent), len(answers))
	skipped := uint64(0)
	for c := range end {
		now := time.Duration(c) * time.Millisecond
		switch {
		case c < len(sent) && sent[c] != "":
			if seq := k.Send(now, skipped); seqOf(sent[c][0]) != seq {
				t.Fatalf("column %d draws %s for probe %d", c, sent[c], seq)
			}
			skipped = 0
		case c < len(sent):
			skipped++
		}
		if c < len(answers) {
			for _, letter := range []byte(answers[c]) {
				k.Answer(packets[letter], now, 0)
			}
		}
	}
	return k, time.Duration(len(sent)) * time.Millisecond
}

// reflect returns the answer to every probe that was received.
func (tl timeline) reflect() map[byte]wire.Packet {
	packets := make(map[byte]wire.Packet)
	counts := make(map[byte]uint64)
	for i := range len(tl.received) {
		letter := tl.received[i]
		if letter == '.' {
			continue
		}
		instance := byte('1')
		if i < len(tl.instances) {
			instance = tl.instances[i]
		}
		counts[instance]++
		packets[letter] = wire.Packet{Seq: seqOf(letter), Instance: uint64(instance), Count: counts[instance]}
	}
	return packets
}

func seqOf(letter byte) uint64 {
	return uint64(strings.IndexByte("abcdefghijklmnopqrstuvwxyz", letter)) + 1
}

// columns splits a row: "ab.[cd]" is "a", "b", "", "cd".
func columns(row string) []string {
	var all []string
	for row != "" {
		cell := row[:1]
		row = row[1:]
		switch cell {
		case ".":
			cell = ""
		case "[":
			cell, row, _ = strings.Cut(row, "]")
		}
		all = append(all, cell)
	}
	return all
}

// describe renders the outages as "start-end ±error out back late", in ms.
func describe(target report.Target, start time.Time) []string {
	var all []string
	for _, o := range target.Outages {
		text := fmt.Sprintf("%v-%v ±%v out %d back %d late %d", report.Millis(o.Start.Sub(start)),
			report.Millis(o.End.Sub(start)), o.ErrorMs, o.LostOut, o.LostBack, o.Late)
		if o.Open {
			text += " open"
		}
		all = append(all, text)
	}
	return all
}

func TestTimelines(t *testing.T) {
	tests := map[string]struct {
		timeline
		outages   []string
		blackout  float64
		err       float64
		out, back uint64
		unsettled uint64
		below     float64
	}{
		"all is well": {
			timeline: timeline{
				sent:     "abcdefghij",
				received: "abcdefghij",
				answers:  ".abcdefghij",
			},
			err: 1,
		},
		"a round trip of five intervals": {
			timeline: timeline{
				sent:     "abcdefghij",
				received: ".abcdefghij",
				answers:  ".....abcdefghij",
			},
			err: 1,
		},
		"lost on the way out": { // d to j: 7 probes, 7 ms
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abc.......klmnop",
				answers:  ".abc.......klmnop",
			},
			outages: []string{"4-11 ±1 out 7 back 0 late 0"}, blackout: 7, err: 1, out: 7,
		},
		"lost on the way back": {
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abcdefghijklmnop",
				answers:  ".abc.......klmnop",
			},
			outages: []string{"4-11 ±1 out 0 back 7 late 0"}, blackout: 7, err: 1, back: 7,
		},
		"lost both ways": {
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abc....hijklmnop",
				answers:  ".abc.......klmnop",
			},
			outages: []string{"4-11 ±1 out 4 back 3 late 0"}, blackout: 7, err: 1, out: 4, back: 3,
		},
		"lost with a long round trip": { // out as long as above, whatever the round trip
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abc.......klmnop",
				answers:  "......abc.......klmnop",
			},
			outages: []string{"9-16 ±1 out 7 back 0 late 0"}, blackout: 7, err: 1, out: 7,
		},
		"held up and delivered at once": { // h to k took no more than 3 ms longer than a
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abcdefghijklmnop",
				answers:  ".abc.......[defghijk]lmnop",
			},
			outages: []string{"4-11 ±1 out 0 back 0 late 4"}, blackout: 7, err: 1,
		},
		"a queue that held the first of them": {
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abcdef....klmnop",
				answers:  ".abc.......[defk]lmnop",
			},
			outages: []string{"4-11 ±1 out 4 back 0 late 3"}, blackout: 7, err: 1, out: 4,
		},
		"a late answer after the end": { // e was not lost after all
			timeline: timeline{
				sent:     "abcdefghijklmnop",
				received: "abcdefghijklmnop",
				answers:  ".abc.......kl[me]nop",
			},
			outages: []string{"4-11 ±1 out 0 back 6 late 1"}, blackout: 7, err: 1, back: 6,
		},
		"two outages": {
			timeline: timeline{
				sent:     "abcdefghijklmnopqr",
				received: "ab....ghijkl....qr",
				answers:  ".ab....ghi.......qr",
			},
			outages:  []string{"3-7 ±1 out 4 back 0 late 0", "10-17 ±1 out 4 back 3 late 0"},
			blackout: 7, err: 1, out: 8, back: 3,
		},
		"longer than the error, shorter than the threshold": {
			timeline: timeline{
				sent:     "abcdefghij",
				received: "abc..fghij",
				answers:  ".abc..fghij",
			},
			blackout: 2, err: 1, out: 2,
		},
		"one probe is within the error": {
			timeline: timeline{
				sent:     "abcdefghij",
				received: "abc.efghij",
				answers:  ".abc.efghij",
			},
			err: 1, out: 1, below: 1,
		},
		"reordered": {
			timeline: timeline{
				sent:     "abcdefghij",
				received: "abdcfeghij",
				answers:  ".abdcfeghij",
			},
			err: 1,
		},
		"duplicates do not end an outage": {
			timeline: timeline{
				sent:     "abcdefghijkl",
				received: "abc.....ijkl",
				answers:  ".abc.[bc].b.ijkl",
			},
			outages: []string{"4-9 ±1 out 5 back 0 late 0"}, blackout: 5, err: 1, out: 5,
		},
		"a sender that paused": { // nothing was sent for 8 ms: no outage, a wide error
			timeline: timeline{
				sent:     "abc.......defghi",
				received: "abc.......defghi",
				answers:  ".abc.......defghi",
			},
			err: 8,
		},
		"a sender that paused where an outage ended": { // it may have ended in the pause
			timeline: timeline{
				sent:     "abcdefghijkl.....mnop",
				received: "abc..............mnop",
				answers:  ".abc..............mnop",
			},
			outages: []string{"4-18 ±6 out 9 back 0 late 0"}, blackout: 14, err: 6, out: 9,
		},
		"a sender that paused amid an outage": { // which changes nothing
			timeline: timeline{
				sent:     "abcdef.....ghijklmnop",
				received: "abc...........jklmnop",
				answers:  ".abc...........jklmnop",
			},
			outages: []string{"4-15 ±1 out 6 back 0 late 0"}, blackout: 11, err: 1, out: 6,
		},
		"open at the end": {
			timeline: timeline{
				sent:     "abcdefghijkl",
				received: "abcdef......",
				answers:  ".abc........",
			},
			outages: []string{"4-12 ±1 out 0 back 0 late 0 open"}, blackout: 8, err: 1, unsettled: 9,
		},
		"never answered": {
			timeline: timeline{
				sent:     "abcdefghijkl",
				received: "............",
				answers:  "............",
			},
			outages: []string{"0-12 ±1 out 0 back 0 late 0 open"}, blackout: 12, err: 1, unsettled: 12,
		},
		"slow to begin": { // which is first_answer_ms
			timeline: timeline{
				sent:     "abcdefghijkl",
				received: "......ghijkl",
				answers:  ".......ghijkl",
			},
			err: 1, out: 6,
		},
		"started again elsewhere": {
			timeline: timeline{
				sent:      "abcdefghijklmnop",
				received:  "abcd......klmnop",
				instances: "1111......222222",
				answers:   ".abc.......klmnop",
			},
			outages: []string{"4-11 ±1 out 7 back 0 late 0"}, blackout: 7, err: 1, out: 7,
		},
	}
	start := time.Unix(0, 0)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k, end := tt.draw(t)
			got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: start}, end)
			if outages := describe(got, start); !slices.Equal(outages, tt.outages) {
				t.Errorf("outages %q, want %q", outages, tt.outages)
			}
			if got.BlackoutMs != tt.blackout || got.ErrorMs != tt.err || got.BelowErrorMs != tt.below {
				t.Errorf("blackout %v ±%v, below %v; want %v ±%v, below %v", got.BlackoutMs, got.ErrorMs,
					got.BelowErrorMs, tt.blackout, tt.err, tt.below)
			}
			if got.LostOut != tt.out || got.LostBack != tt.back || got.Unsettled != tt.unsettled {
				t.Errorf("out %d back %d unsettled %d; want %d, %d, %d", got.LostOut, got.LostBack, got.Unsettled,
					tt.out, tt.back, tt.unsettled)
			}
			if sum := got.Answered + got.LostOut + got.LostBack + got.Unsettled; sum != got.Sent {
				t.Errorf("answered and lost are %d, sent %d", sum, got.Sent)
			}
		})
	}
}

func TestDrawnCounters(t *testing.T) {
	tl := timeline{
		sent:      "abc..defghijkl",
		received:  "abc..def...jkl",
		instances: "111..111...222",
		answers:   "..abc.[ab]def...jkl",
	}
	k, end := tl.draw(t)
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, end)
	if got.Duplicates != 2 || got.Skipped != 2 || got.Instances != 2 || got.InstanceChanges != 1 ||
		*got.FirstAnswerMs != 2 {
		t.Errorf("duplicates %d skipped %d instances %d changes %d first %v; want 2, 2, 2, 1, 2",
			got.Duplicates, got.Skipped, got.Instances, got.InstanceChanges, *got.FirstAnswerMs)
	}
}

// A sender that is kept from running between reading the clock and sending
// cannot tell when the probe left: the silence is its own.
func TestSenderHeldUpWhileSending(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	at := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, held := range []int{0, 0, 27, 0} { // probe 3 may have left at 2 ms, or at 29 ms
		now := at(int(k.sends.last))
		if k.sends.last == 3 {
			now = at(30)
		}
		seq := k.Send(now, 0)
		k.Sent(seq, now+at(held))
		k.Answer(wire.Packet{Seq: seq, Instance: 1, Count: seq}, now+at(held), 0)
	}
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, at(31))
	if got.BlackoutMs != 0 || len(got.Outages) != 0 || got.WorstErrorMs != 28 {
		t.Errorf("blackout %v, outages %+v, worst error %v; want none, none, 28", got.BlackoutMs, got.Outages,
			got.WorstErrorMs)
	}
}

func TestReconnectWidensError(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Retry: 100 * time.Millisecond,
		Bucket: 10 * time.Millisecond})
	at := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	k.Send(at(0), 0)
	k.Answer(wire.Packet{Seq: 1, Instance: 1, Count: 1}, at(0), 0)
	for i := 1; i <= 300; i++ {
		k.Send(at(i), 0)
		k.Note(NotSent)
	}
	k.Note(Reset)
	k.Note(Reconnected)
	k.Answer(wire.Packet{Seq: 301, Instance: 1, Count: 2}, at(300), 2*time.Millisecond)
	got := k.Report("tcp://x:1", endpoint.TCP, Calendar{Start: time.Unix(0, 0)}, at(301))
	if len(got.Outages) != 1 {
		t.Fatalf("outages = %+v, want one", got.Outages)
	}
	o := got.Outages[0]
	if o.Ms != 299 || o.ErrorMs != 103 || o.Resets != 1 || o.Reconnects != 1 || got.SendErrors != 300 {
		t.Errorf("outage = %+v, send errors %d; want 299 ms ±103 (interval, attempts, read late), one reset, one reconnect, 300", o, got.SendErrors)
	}
}

func TestOutageListIsBounded(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: time.Second})
	for i := range maxOutages + 10 {
		at := time.Duration(i) * 10 * time.Millisecond
		k.Answer(wire.Packet{Seq: k.Send(at, 0), Instance: 1, Count: k.sends.last}, at, 0)
		for ms := range time.Duration(9) {
			k.Send(at+(ms+1)*time.Millisecond, 0)
		}
	}
	if len(k.outages.list) != maxOutages || k.outages.omitted != 9 {
		t.Errorf("%d outages and %d omitted, want %d and 9", len(k.outages.list), k.outages.omitted, maxOutages)
	}
}

func TestAnswersThatWereNotAskedFor(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: time.Second})
	k.Send(0, 0)
	k.Answer(wire.Packet{Seq: 2}, time.Millisecond, 0)
	if k.answered != 0 {
		t.Error("an answer to a probe that was not sent is counted")
	}
}

// play sends a probe in each millisecond and answers those that are wanted.
func play(k *Tracker, from, to int, kind byte, answered func(n int) bool) {
	for i := from; i < to; i++ {
		at := time.Duration(i) * time.Millisecond
		seq := k.Send(at, 0)
		if answered(i) {
			k.Answer(wire.Packet{Kind: kind, Seq: seq, Instance: 1, Count: seq}, at+100*time.Microsecond, 0)
		}
	}
}

func TestDarkTimeAndAvailability(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(k, 0, 1000, wire.Answer, func(n int) bool { return (n < 100 || n >= 150) && (n < 500 || n >= 550) && n < 900 })
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 1000*time.Millisecond)
	if len(got.Outages) != 3 || got.DarkMs < 199 || got.DarkMs > 201 || got.DarkErrorMs != 3 {
		t.Errorf("%d outages, dark for %v ms ±%v; want 3, 200 ±3", len(got.Outages), got.DarkMs, got.DarkErrorMs)
	}
	if got.Availability < 0.799 || got.Availability > 0.801 {
		t.Errorf("availability %v, want 0.8", got.Availability)
	}
}

func TestRoundTripsBeforeAndAfter(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(k, 0, 1000, wire.Answer, func(n int) bool { return n < 100 || n >= 150 && n < 500 || n >= 520 })
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, time.Second)
	if got.RTT.N != 930 || got.RTTBefore.N != 100 || got.RTTAfter.N != 829 {
		t.Errorf("round trips: %d, before %d, after %d; want 930, 100 and 829 (one ended it)", got.RTT.N,
			got.RTTBefore.N, got.RTTAfter.N)
	}
}

func TestAServiceThatOnlyEchoesTellsNoDirection(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(k, 0, 100, wire.Probe, func(n int) bool { return n < 20 || n >= 60 })
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 100*time.Millisecond)
	if got.Directed || got.Lost != 40 || got.LostOut+got.LostBack != 0 || got.Instances != 0 ||
		got.Outages[0].Lost != 40 {
		t.Errorf("directed %v, lost %d, instances %d, outages %+v", got.Directed, got.Lost, got.Instances, got.Outages)
	}
}

// An outage ends when the service that comes back asks for a cookie.
func TestAChallengeEndsAnOutage(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(k, 0, 60, wire.Answer, func(n int) bool { return n < 20 })
	for n := range time.Duration(10) { // each probe, until the cookie is there
		k.SignOfLife(60, (50+n)*time.Millisecond)
	}
	play(k, 60, 70, wire.Answer, func(int) bool { return true })
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 70*time.Millisecond)
	if got.BlackoutMs < 29 || got.BlackoutMs > 31 {
		t.Errorf("blackout of %v ms, want 30", got.BlackoutMs)
	}
}

// A service that asks for a cookie and then says nothing is out.
func TestAChallengeBeginsNothing(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(k, 0, 200, wire.Answer, func(n int) bool { return n < 20 || n >= 180 })
	open := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(open, 0, 21, wire.Answer, func(n int) bool { return n < 20 })
	open.SignOfLife(21, 20*time.Millisecond)
	play(open, 21, 200, wire.Answer, func(n int) bool { return n >= 180 })
	want, got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 200*time.Millisecond),
		open.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 200*time.Millisecond)
	if len(got.Outages) != 1 || got.BlackoutMs < want.BlackoutMs-1 || got.BlackoutMs > want.BlackoutMs ||
		got.LostOut+got.LostBack != want.LostOut+want.LostBack {
		t.Errorf("blackout of %v ms, outages %+v; want one of %v ms", got.BlackoutMs, got.Outages, want.BlackoutMs)
	}
}

// A reflector that counts more than was sent is not believed, and is the next time.
func TestAForgedCountIsNotBelieved(t *testing.T) {
	for _, forged := range []uint64{31, 1 << 63, 1<<64 - 1} {
		k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
		for n := range 30 {
			at := time.Duration(n) * time.Millisecond
			seq := k.Send(at, 0)
			count := seq
			switch {
			case n == 10:
				count = forged
			case n >= 20 && n < 25:
				continue // lost on the way out
			case n >= 25:
				count -= 5
			}
			k.Answer(wire.Packet{Kind: wire.Answer, Seq: seq, Instance: 1, Count: count}, at+time.Microsecond, 0)
		}
		got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 30*time.Millisecond)
		if got.LostOut != 5 || got.LostBack != 0 {
			t.Errorf("with a count of %d: %d lost out, %d back; want 5 and 0", forged, got.LostOut, got.LostBack)
		}
	}
}

// What happens while this machine is asleep is not the service's fault.
func TestSuspended(t *testing.T) {
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	play(k, 0, 20, wire.Answer, func(int) bool { return true })
	k.Suspended()
	play(k, 20, 60, wire.Answer, func(int) bool { return false })
	if o, open := k.ongoing(60 * time.Millisecond); open {
		t.Errorf("an outage %+v after the sleep", o)
	}
	play(k, 60, 100, wire.Answer, func(n int) bool { return n < 70 || n >= 90 })
	got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, 100*time.Millisecond)
	if len(got.Outages) != 1 || got.BlackoutMs != 20 {
		t.Errorf("outages %+v, want one of 20 ms: the second", got.Outages)
	}
}

// FuzzTracker plays answers of a reflector that lies.
func FuzzTracker(f *testing.F) {
	f.Add([]byte{1, 1, 1, 2, 1, 2})
	f.Add([]byte{9, 200, 3, 9, 0, 0, 8, 1, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
		now := time.Duration(0)
		for ; len(script) >= 3; script = script[3:] {
			now += time.Duration(script[0]) * 100 * time.Microsecond
			k.Send(now, 0)
			k.Answer(wire.Packet{Seq: uint64(script[0]), Instance: uint64(script[1] % 4), Count: uint64(script[2]),
				Sent: time.Duration(script[2])}, now, 0)
		}
		got := k.Report("udp://x:1", endpoint.UDP, Calendar{Start: time.Unix(0, 0)}, now)
		if got.Answered+got.LostOut+got.LostBack+got.Unsettled != got.Sent {
			t.Errorf("answered %d + out %d + back %d + unsettled %d, sent %d", got.Answered, got.LostOut, got.LostBack,
				got.Unsettled, got.Sent)
		}
		if err := got.Check(); err != nil {
			t.Error(err)
		}
	})
}

// A run of a week needs no more memory than one of a day, however bad the service is.
func TestAWeekNeedsNoMoreThanADay(t *testing.T) {
	const day = 24 * time.Hour
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	var f Faults
	live := func(until time.Duration, from time.Duration) uint64 {
		for at := from; at < until; at += time.Second {
			seq := k.Send(at, 0)
			k.Sent(seq, at)
			if at/time.Second%5 < 3 { // and then an outage of two seconds
				k.Answer(wire.Packet{Kind: wire.Answer, Seq: seq, Instance: uint64(at/time.Minute) + 1, Count: seq},
					at+time.Millisecond, 0)
			}
			f.Add(report.Late, at, time.Second)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := live(day, 0)
	last := live(7*day, day)
	if len(k.outages.list) != maxOutages || k.outages.omitted == 0 || len(k.series.sent) > maxBuckets ||
		len(f.list) != maxFaults {
		t.Errorf("%d outages and %d omitted, %d buckets, %d faults", len(k.outages.list), k.outages.omitted,
			len(k.series.sent), len(f.list))
	}
	if last > first+2<<20 {
		t.Errorf("after a day %d bytes, after a week %d", first, last)
	}
	runtime.KeepAlive(k)
}
