package game

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInt: the forms are those of Teeworlds' compression.cpp.
func TestInt(t *testing.T) {
	for n, want := range map[uint32]string{
		0: "\x00", 1: "\x01", 63: "\x3f", 64: "\x80\x01", 8191: "\xbf\x7f", 8192: "\x80\x80\x01",
		maxInt: "\xbf\xff\xff\xff\x0f",
	} {
		if got := appendInt(nil, n); string(got) != want {
			t.Errorf("%d: got %x, want %x", n, got, want)
		}
		if got, ok := cutInt([]byte(want + "x")); !ok || got != n {
			t.Errorf("%x: got %d, %v, want %d", want, got, ok, n)
		}
	}
	for _, bad := range []string{"", "\x41", "\x80", "\xbf\xff\xff\xff\xff\x01"} {
		if got, ok := cutInt([]byte(bad)); ok {
			t.Errorf("%x: got %d", bad, got)
		}
	}
}

func TestRequests(t *testing.T) {
	b := tokenRequest(0x11223344)
	if want := "\x04\x00\x00\xff\xff\xff\xff\x05\x11\x22\x33\x44"; len(b) != 520 || string(b[:12]) != want {
		t.Errorf("request for a token: %d bytes, %x", len(b), b[:12])
	}
	b = appendInfoRequest(nil, 0xaabbccdd, 0x11223344, 1<<31+64)
	if want := "\x21\xaa\xbb\xcc\xdd\x11\x22\x33\x44\xff\xff\xff\xffgie3\x80\x01"; string(b) != want {
		t.Errorf("request for the description: %x", b)
	}
}

func TestParse(t *testing.T) {
	const mine = 0x11223344
	for _, test := range []struct {
		name, packet string
		want         reply
		ok           bool
	}{
		{"token", "\x04\x00\x00\x11\x22\x33\x44\x05\xaa\xbb\xcc\xdd", reply{isToken: true, token: 0xaabbccdd}, true},
		{"another's token", "\x04\x00\x00\x11\x22\x33\x45\x05\xaa\xbb\xcc\xdd", reply{}, false},
		{"no token", "\x04\x00\x00\x11\x22\x33\x44\x05\xff\xff\xff\xff", reply{}, false},
		{"other control message", "\x04\x00\x00\x11\x22\x33\x44\x04\xaa\xbb\xcc\xdd", reply{}, false},
		{"token cut off", "\x04\x00\x00\x11\x22\x33\x44\x05\xaa\xbb\xcc", reply{}, false},
		{"description", "\x21\x11\x22\x33\x44\xaa\xbb\xcc\xdd\xff\xff\xff\xffinf3\x80\x010.7.5\x00", reply{number: 64},
			true},
		{"another's description", "\x21\x11\x22\x33\x40\xaa\xbb\xcc\xdd\xff\xff\xff\xffinf3\x01", reply{}, false},
		{"description without a number", "\x21\x11\x22\x33\x44\xaa\xbb\xcc\xdd\xff\xff\xff\xffinf3", reply{}, false},
		{"list", "\x21\x11\x22\x33\x44\xaa\xbb\xcc\xdd\xff\xff\xff\xfflis2\x01", reply{}, false},
		{"other version", "\x22\x11\x22\x33\x44\xaa\xbb\xcc\xdd\xff\xff\xff\xffinf3\x01", reply{}, false},
		{"nothing", "", reply{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parse([]byte(test.packet), mine)
			if ok != test.ok || ok && got != test.want {
				t.Errorf("got %+v, %v", got, ok)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x11\x22\x33\x44\x05\xaa\xbb\xcc\xdd"), uint32(0x11223344))
	f.Add([]byte("\x21\x11\x22\x33\x44\xaa\xbb\xcc\xdd\xff\xff\xff\xffinf3\x80\x01"), uint32(0x11223344))
	f.Fuzz(func(t *testing.T, b []byte, mine uint32) {
		r, ok := parse(b, mine)
		if !ok || r.isToken {
			return
		}
		if !bytes.Contains(b, info) || r.number > maxInt {
			t.Errorf("%x: %+v", b, r)
		}
		if again, ok := cutInt(appendInt(nil, r.number)); !ok || again != r.number {
			t.Errorf("%d is %d again", r.number, again)
		}
	})
}

// TestSilence: requests in every 20 ms; each step is an answer at that time, in ms, to that request.
func TestSilence(t *testing.T) {
	type step struct {
		at     int
		number uint32
	}
	for _, test := range []struct {
		name             string
		sent             int
		steps            []step
		answered         uint64
		longest, longEnd int
	}{
		{"never", 5, nil, 0, 0, 0},
		{"all in time", 4, []step{{1, 1}, {21, 2}, {41, 3}, {61, 4}}, 4, 0, 0},
		{"three lost", 6, []step{{1, 1}, {21, 2}, {101, 6}}, 3, 60, 101},
		{"held up, then all at once", 6, []step{{1, 1}, {95, 2}, {95, 3}, {95, 4}, {95, 5}, {101, 6}}, 6, 74, 95},
		{"a duplicate ends nothing", 6, []step{{1, 1}, {50, 1}, {101, 6}}, 2, 80, 101},
		{"a late one ends it", 6, []step{{1, 1}, {41, 3}, {60, 2}, {101, 6}}, 4, 21, 101},
		{"open at the end", 6, []step{{1, 1}, {21, 2}}, 2, 59, 100},
		{"nobody sent it", 3, []step{{1, 1}, {21, 9}, {22, 0}, {23, 1 << 30}, {41, 3}}, 2, 20, 41},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s silence
			zero := time.Unix(1000, 0)
			at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
			for i, steps := 0, test.steps; i < test.sent || len(steps) > 0; {
				if i < test.sent && (len(steps) == 0 || i*20 <= steps[0].at) {
					s.send(at(i * 20))
					i++
					continue
				}
				s.answer(at(steps[0].at), steps[0].number)
				steps = steps[1:]
			}
			got := s.end()
			longest := time.Duration(test.longest) * time.Millisecond
			want := Result{Sent: uint64(test.sent), Answered: test.answered, Longest: longest}
			if test.longest > 0 {
				want.LongestEnd = at(test.longEnd)
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestSilenceOfHours: a silence longer than what is remembered is measured all the same.
func TestSilenceOfHours(t *testing.T) {
	var s silence
	now := time.Unix(1000, 0)
	s.send(now)
	s.answer(now, 1)
	for range 3 * remembered {
		now = now.Add(20 * time.Millisecond)
		s.send(now)
	}
	s.answer(now, uint32(s.result.Sent))
	if got, want := s.end().Longest, (3*remembered-1)*20*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSenderPaused: time in which nothing was sent is no silence.
func TestSenderPaused(t *testing.T) {
	var s silence
	now := time.Unix(1000, 0)
	s.send(now)
	s.answer(now.Add(time.Millisecond), 1)
	now = now.Add(time.Hour)
	s.send(now)
	s.answer(now.Add(2*time.Millisecond), 2)
	if got := s.end().Longest; got != time.Millisecond {
		t.Errorf("got %v", got)
	}
}

func TestSlotAfter(t *testing.T) {
	zero := time.Unix(0, 0)
	for late, want := range map[int]int{-3: 20, 0: 20, 5: 20, 19: 20, 20: 40, 95: 100} {
		now := zero.Add(time.Duration(late) * time.Millisecond)
		if got := slotAfter(zero, 20*time.Millisecond, now).Sub(zero).Milliseconds(); got != int64(want) {
			t.Errorf("%d ms late: %d ms", late, got)
		}
	}
}

// TestWantsToken: before the first token and in a silence often, else now and then.
func TestWantsToken(t *testing.T) {
	now := time.Unix(1000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, test := range []struct {
		name string
		c    client
		want bool
	}{
		{"at once", client{}, true},
		{"no token yet", client{asked: ago(retryEvery - 1)}, false},
		{"still no token", client{asked: ago(retryEvery)}, true},
		{"served", client{hasToken: true, asked: ago(renewEvery - 1), silence: silence{last: ago(1)}}, false},
		{"old token", client{hasToken: true, asked: ago(renewEvery), silence: silence{last: ago(1)}}, true},
		{"silent", client{hasToken: true, asked: ago(retryEvery), silence: silence{last: ago(silentFor)}}, true},
		{"silent, just asked", client{hasToken: true, asked: ago(1), silence: silence{last: ago(silentFor)}}, false},
	} {
		if got := test.c.wantsToken(now); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}

// server is what a Teeworlds server does with such requests, but for the requests that lost names.
func server(t *testing.T, lost func(number uint32) bool, served func(number uint32)) (addr string) {
	t.Helper()
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for b := make([]byte, maxPacketSize); ; {
			n, from, err := l.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n == 520 && bytes.HasPrefix(b, tokenRequest(0)[:8]) && !lost(0) {
				answer := append([]byte("\x04\x00\x00"), b[8:12]...)
				l.WriteToUDPAddrPort(append(answer, "\x05tokn"...), from)
			}
			number, ok := cutInt(b[min(17, n):n])
			if !ok || string(b[1:5]) != "tokn" || !bytes.Equal(b[9:17], getInfo) || lost(number) {
				continue
			}
			answer := append([]byte("\x21"), b[5:9]...)
			answer = append(append(answer, "tokn"...), info...)
			l.WriteToUDPAddrPort(append(append(answer, b[17:n]...), "0.7.5\x00name\x00"...), from)
			served(number)
		}
	}()
	return l.LocalAddr().String()
}

// TestWatch: what was answered is counted, and a silence is found. 60 requests in 5 ms each are lost, of which the
// client's own lateness may take away two thirds.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addr := server(t, func(number uint32) bool { return number >= 20 && number < 80 }, func(number uint32) {
		if number >= 100 {
			cancel()
		}
	})
	begin := time.Now()
	got, err := Watch(ctx, addr, 5*time.Millisecond)
	if err != nil || got.Sent < 100 || got.Answered+60 > got.Sent || got.Answered < 39 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Longest < 100*time.Millisecond || got.Longest > time.Since(begin) || got.LongestEnd.Before(begin) {
		t.Errorf("%+v", got)
	}
}

func TestWatchFails(t *testing.T) {
	silent := server(t, func(uint32) bool { return true }, nil)
	for _, test := range []struct {
		addr     string
		interval time.Duration
		want     string
	}{
		{silent, time.Millisecond, "never answered"},
		{"127.0.0.1:9", time.Millisecond, "never answered"}, // nobody listens
		{silent, 0, "not above 0"},
		{"nowhere", time.Millisecond, "missing port"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if got, err := Watch(ctx, test.addr, test.interval); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v", test.addr, got, err)
		}
		cancel()
	}
}

// serverEnv names an unpacked teeworlds-server program; its maps lie in data/maps next to it or where Debian has them.
const serverEnv = "VMFERRY_GAME_SERVER"

// TestRealServer: the server answers every request, 50 in a second and more, for longer than a token is good.
func TestRealServer(t *testing.T) {
	program := os.Getenv(serverEnv)
	if program == "" {
		t.Skip(serverEnv + " names no server")
	}
	cmd := exec.CommandContext(t.Context(), program, "sv_register 0", "sv_map dm1", "sv_port 18303",
		"bindaddr 127.0.0.1")
	cmd.Dir, cmd.Env = filepath.Dir(program), []string{"HOME=" + t.TempDir()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // it was killed
	defer cmd.Process.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	got, err := Watch(ctx, "127.0.0.1:18303", 5*time.Millisecond)
	t.Logf("%+v", got)
	if err != nil || got.Answered < got.Sent-2 {
		t.Errorf("%+v, %v", got, err)
	}
}
