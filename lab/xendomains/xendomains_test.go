package xendomains

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const vm1 = "766d6665-7272-4000-9000-000000000001"

// info is what the hypervisor says of one domain.
func info(id uint16, flags uint32) []byte {
	b := make([]byte, infoSize)
	binary.NativeEndian.PutUint16(b, id)
	binary.NativeEndian.PutUint32(b[infoFlags:], flags)
	copy(b[infoHandle:], "\x76\x6d\x66\x65\x72\x72\x40\x00\x90\x00\x00\x00\x00\x00\x00\x01")
	return b
}

func TestAnswer(t *testing.T) {
	const running, blocked, hvm = 1 << 5, 1 << 4, 1 << 1
	for _, test := range []struct {
		name  string
		flags uint32
		want  State
	}{
		{"running", running | hvm, Executing},
		{"blocked", blocked | hvm, Executing},
		{"neither, for an instant", hvm, Executing},
		{"paused", flagPaused | blocked | hvm, Paused},
		{"suspended for a migration", flagShutdown | suspended<<reasonShift | hvm, Suspended},
		{"suspended, and paused by the toolstack", flagShutdown | flagPaused | suspended<<reasonShift, Suspended},
		{"powered off", flagShutdown, Ended},
		{"wants a reboot", flagShutdown | 1<<reasonShift, Ended},
		{"crashed", flagShutdown | 3<<reasonShift, Ended},
		{"a reason that is left over from a suspension it came back from", running | suspended<<reasonShift, Executing},
		{"destroyed", flagDying | flagShutdown | flagPaused, Dying},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := answer(append(info(7, 0), info(8, test.flags)...), 2)
			if err != nil || len(got) != 2 || got[1] != (Domain{8, vm1, test.want}) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, count := range []int{-1, 2, maxDomains + 1} {
		if got, err := answer(info(7, 0), count); err == nil {
			t.Errorf("%d domains in the room of one: %+v", count, got)
		}
	}
	if maxDomains*infoSize > bufferSize-infoAt {
		t.Error("the answer has no room in the buffer")
	}
}

func TestQuestion(t *testing.T) {
	buffer := bytes.Repeat([]byte{0xff}, bufferSize)
	question(buffer, 0x1122334455667788)
	want := []byte{6, 0, 0, 0, 0x15, 0, 0, 0, 1, 0, 0, 0, maxDomains, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22,
		0x11, 0, 0, 0, 0}
	if !bytes.Equal(buffer[:len(want)], want) || buffer[135] != 0 || buffer[infoAt] != 0xff {
		t.Errorf("got % x", buffer[:136])
	}
}

// TestWatch: what changed is written at once, what did not now and then.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now().Add(-time.Hour)
		now := func() time.Duration { return time.Since(start) }
		look := func() ([]Domain, error) {
			switch age := now() - time.Hour; {
			case age < 90*time.Millisecond:
				return []Domain{{1, vm1, Paused}}, nil
			case age < 600*time.Millisecond:
				return []Domain{{1, vm1, Executing}}, nil
			}
			return nil, nil
		}
		var out bytes.Buffer
		if err := watch(ctx, look, now, &out); err != nil {
			t.Fatal(err)
		}
		var written []Look
		for line := range strings.Lines(out.String()) {
			l, err := Parse([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			l.At, l.Before = l.At-time.Hour, max(0, l.Before-time.Hour)
			written = append(written, l)
		}
		ms := time.Millisecond
		want := []Look{
			{0, 0, []Domain{{1, vm1, Paused}}},
			{100 * ms, 50 * ms, []Domain{{1, vm1, Executing}}},
			{350 * ms, 300 * ms, []Domain{{1, vm1, Executing}}},
			{600 * ms, 550 * ms, nil},
			{850 * ms, 800 * ms, nil},
		}
		if !reflect.DeepEqual(written, want) {
			t.Errorf("got %+v", written)
		}
	})
}

func TestWatchEndsWhenItCannotSee(t *testing.T) {
	blind := errors.New("no hypervisor")
	err := watch(t.Context(), func() ([]Domain, error) { return nil, blind }, monotonic, new(bytes.Buffer))
	if !errors.Is(err, blind) {
		t.Errorf("got %v", err)
	}
	err = watch(t.Context(), func() ([]Domain, error) { return nil, nil }, monotonic, closedPipe{})
	if err == nil || !strings.Contains(err.Error(), "write the domains") {
		t.Errorf("got %v", err)
	}
}

func TestMainSaysWhatIsMissing(t *testing.T) {
	var problem bytes.Buffer
	if code := Main(t.Context(), nil, &problem); code != 1 || !strings.Contains(problem.String(), "name the address") {
		t.Errorf("exit code %d, %q", code, &problem)
	}
	if _, err := os.Stat("/dev/xen/privcmd"); err == nil {
		t.Skip("this is a dom0")
	}
	problem.Reset()
	if code := Main(t.Context(), []string{":0"}, &problem); code != 1 || !strings.Contains(problem.String(),
		"reach the hypervisor") {
		t.Errorf("exit code %d, %q", code, &problem)
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestParseRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"nothing":      "",
		"no time":      `{"domains":[]}`,
		"backwards":    `{"at":1,"before":2}`,
		"a new state":  `{"at":2,"before":1,"domains":[{"id":1,"uuid":"x","state":"asleep"}]}`,
		"cut off":      `{"at":2,"before":1,"doma`,
		"a complaint":  "domains_lab: reach the hypervisor",
		"not a number": `{"at":"now"}`,
	} {
		if l, err := Parse([]byte(line)); err == nil {
			t.Errorf("%s: got %+v", name, l)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"at":2,"before":1,"domains":[{"id":1,"uuid":"x","state":"paused"}]}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, err := Parse(line); err == nil && (l.At <= 0 || l.Before > l.At) {
			t.Errorf("took %+v", l)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(info(1, flagPaused), 1)
	f.Fuzz(func(t *testing.T, infos []byte, count int) {
		if all, err := answer(infos, count); err == nil && len(all) != count {
			t.Errorf("%d of %d domains", len(all), count)
		}
	})
}
