package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

// exchange has a connection carry so many bytes, in both directions, so that its window is open wide.
func (n network) exchange(from, to io.ReadWriter, size int) {
	n.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, size))
		sent <- err
	}()
	_, err := io.ReadFull(to, make([]byte, size))
	n.Must(err)
	n.Must(<-sent)
}

// What a client sends while the guest is paused arrives at the guest's new place without the client's
// retransmitting it, whole: the frames are of several segments each, and nobody filled their checksums in.
func TestHandedOn(t *testing.T) {
	for name, c := range map[string]struct{ tapGone bool }{
		"while the tap is there": {},
		"after the tap has gone": {tapGone: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			client, guest := n.connect()
			n.exchange(client, guest, 1<<20)
			n.exchange(guest, client, 1)
			r := n.relay()
			data := make([]byte, 100_000)
			random := rand.NewChaCha8([32]byte{})
			_, _ = random.Read(data)

			n.stop()
			r.Buffer(time.Now())
			_, err := client.Write(data)
			n.Must(err)
			n.move()
			if c.tapGone {
				n.Must(netlink.LinkDel(n.Link("vnet0")))
			}
			n.announce()
			r.Forward()
			passed, err := r.Close(t.Context())
			if err != nil || passed == 0 || passed > len(data)/1448/2 {
				t.Errorf("forwarded %d frames, %v", passed, err)
			}
			got := make([]byte, len(data))
			if size, err := io.ReadFull(guest, got); err != nil {
				t.Fatalf("%d of %d bytes arrived: %v", size, len(data), err)
			}
			if !bytes.Equal(got, data) {
				t.Error("other bytes arrived than were sent")
			}
			if at := n.Behind("switch", clientMAC); at != "sw3" {
				t.Errorf("the switch looks for the client at %q", at)
			}
			if at := n.Behind("br0", clientMAC); at != "up" {
				t.Errorf("the old node looks for the client at %q", at)
			}
		})
	}
}

// What a guest's client sends before the bridge knows the guest elsewhere waits for that.
func TestPassedBeforeTheAnnouncement(t *testing.T) {
	n := newNetwork(t)
	client, guest := n.connect()
	r := n.relay()
	n.stop()
	r.Buffer(time.Now())
	r.Forward()
	_, err := client.Write([]byte("word"))
	n.Must(err)
	n.move()
	n.announce()
	if passed, err := r.Close(t.Context()); err != nil || passed != 1 {
		t.Errorf("forwarded %d frames, %v", passed, err)
	}
	word := make([]byte, 4)
	if _, err := io.ReadFull(guest, word); err != nil || string(word) != "word" {
		t.Errorf("read %q, %v", word, err)
	}
}

// What came between the guest's STOP and the moment at which that is heard here is not lost.
func TestStopIsHeardLate(t *testing.T) {
	n := newNetwork(t)
	client, guest := n.connect()
	r := n.relay()
	n.stop()
	stopped := time.Now()
	_, err := client.Write([]byte("word"))
	n.Must(err)
	r.Buffer(stopped)
	n.move()
	n.announce()
	r.Forward()
	if passed, err := r.Close(t.Context()); err != nil || passed != 1 {
		t.Errorf("forwarded %d frames, %v", passed, err)
	}
	word := make([]byte, 4)
	if _, err := io.ReadFull(guest, word); err != nil || string(word) != "word" {
		t.Errorf("read %q, %v", word, err)
	}
}

// stamped waits until the kernel puts time stamps on frames when they come: it begins with that some time after a socket
// wants them, and until then stamps a frame when it is taken.
func (n network) stamped(k *tapQueue) {
	n.Helper()
	n.Eventually("frames have time stamps", func() bool {
		n.send(toGuest)
		sent := time.Now()
		_, at, err := k.receive(make([]byte, maxFrame))
		n.Must(err)
		return at.Before(sent)
	})
}

// While the guest runs, what came for it is dropped, but for the latest; where that is too much, nothing more is kept
// until the guest stops.
func TestTrim(t *testing.T) {
	for name, c := range map[string]struct {
		sent int
		age  time.Duration // of what is to stay, after the last was sent
		want int           // of all and of one more
	}{
		"all are new":    {sent: 3, age: time.Minute, want: 4},
		"all are old":    {sent: 3, want: 1},
		"very many":      {sent: maxTrim + 1, want: 1},
		"nearly so many": {sent: maxTrim - 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			k, err := openTapQueue(n.Link("vnet0").Attrs().Index, guestMAC)
			n.Must(err)
			defer k.close()
			n.stamped(k)
			n.sendOn("vnet0", slices.Repeat([][]byte{toGuest}, c.sent)...)
			k.trim(time.Now().Add(-c.age), make([]byte, maxFrame))
			if muted := c.sent > maxTrim; k.muted != muted {
				t.Errorf("it keeps nothing more: %v", k.muted)
			}
			n.Must(k.keepSince(time.Now().Add(-c.age)))
			n.send(toGuest)
			kept := 0
			for buffer := make([]byte, maxFrame); ; kept++ {
				frame, err := k.next(buffer)
				if errors.Is(err, unix.EAGAIN) {
					break
				}
				n.Must(err)
				if !bytes.Equal(frame[tagSize+vnetHeader:], toGuest) {
					t.Errorf("kept %x", frame)
				}
			}
			if kept != c.want {
				t.Errorf("kept %d frames, not %d", kept, c.want)
			}
		})
	}
}

// A frame that trim has looked at is not sent where the guest received it before its STOP.
func TestTrimmedBeforeTheStop(t *testing.T) {
	n := newNetwork(t)
	k, err := openTapQueue(n.Link("vnet0").Attrs().Index, guestMAC)
	n.Must(err)
	defer k.close()
	n.stamped(k)
	n.send(toGuest)
	k.trim(time.Now().Add(-time.Minute), make([]byte, maxFrame))
	if k.first == nil {
		t.Fatal("trim has dropped a new frame")
	}
	n.Must(k.keepSince(time.Now()))
	if !k.isEmpty() {
		t.Error("kept a frame from before the STOP")
	}
}

// What a busy guest received before its STOP leaves room for what comes after it.
func TestABusyGuestLeavesRoom(t *testing.T) {
	n := newNetwork(t)
	k, err := openTapQueue(n.Link("vnet0").Attrs().Index, guestMAC)
	n.Must(err)
	defer k.close()
	n.stamped(k)
	n.sendOn("vnet0", slices.Repeat([][]byte{toGuest}, 20_000)...) // more than all that is ever kept
	n.Must(k.keepSince(time.Now()))
	const sent = 1000
	n.sendOn("vnet0", slices.Repeat([][]byte{toGuest}, sent)...)
	kept := 0
	for buffer := make([]byte, maxFrame); ; kept++ {
		_, err := k.next(buffer)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		n.Must(err)
	}
	if kept != sent {
		t.Errorf("kept %d of %d frames", kept, sent)
	}
}

func TestNothingIsHandedOn(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(n network, r *Relay)
		want error
	}{
		"the guest is announced nowhere": {do: func(n network,
			r *Relay) {
			r.Buffer(time.Now())
			n.send(toGuest)
			r.Forward()
		}, want: ErrNotLearned},
		"nothing came": {do: func(n network,
			r *Relay) {
			r.Buffer(time.Now())
			r.Forward()
			n.move()
			n.announce()
		}},
		"nothing came, announced nowhere": {do: func(n network, r *Relay) { r.Buffer(time.Now()); r.Forward() }},
		"it came before the stop": {do: func(n network, r *Relay) {
			n.send(toGuest)
			r.Buffer(time.Now().Add(2 * unread))
			r.Forward()
			n.move()
			n.announce()
		}},
		"the stop was not heard": {do: func(n network, r *Relay) { n.send(toGuest); r.Forward(); n.move(); n.announce() }},
		"the guest goes on here": {do: func(n network, r *Relay) {
			r.Buffer(time.Now())
			n.send(toGuest)
			r.Drop()
			r.Forward()
			n.move()
			n.announce()
		}},
		"never passed": {do: func(n network, r *Relay) { r.Buffer(time.Now()); n.send(toGuest); n.move(); n.announce() }},
		"buffered after the end": {do: func(n network, r *Relay) {
			_, err := r.Close(n.Context())
			n.Must(err)
			r.Buffer(time.Now())
			n.send(toGuest)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			r := n.relay()
			c.do(n, r)
			if passed, err := r.Close(t.Context()); passed != 0 || !errors.Is(err, c.want) {
				t.Errorf("forwarded %d frames, %v", passed, err)
			}
		})
	}
}

// A caller whose time is up does not wait for an announcement.
func TestCloseEndsWithItsContext(t *testing.T) {
	n := newNetwork(t)
	r := n.relay()
	r.Buffer(time.Now())
	r.Forward()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if passed, err := r.Close(ctx); passed != 0 || err != nil {
		t.Errorf("forwarded %d frames, %v", passed, err)
	}
}

// ether is a frame that says no more than its header, and that it is one of TCP where it is IP.
func ether(to announce.MAC, protocol uint16, vlan ...byte) []byte {
	return of(unix.IPPROTO_TCP, to, protocol, vlan...)
}

// of is ether of another protocol above IP.
func of(above byte, to announce.MAC, protocol uint16, vlan ...byte) []byte {
	f := append(append([]byte{}, to[:]...), clientMAC[:]...)
	f = append(f, vlan...)
	f = append(f, byte(protocol>>8), byte(protocol))
	packet := make([]byte, 46)
	switch protocol {
	case unix.ETH_P_IP:
		packet[9] = above
	case unix.ETH_P_IPV6:
		packet[6] = above
	}
	return append(f, packet...)
}

var toGuest = ether(guestMAC, unix.ETH_P_IP)

// send puts a frame on the guest's tap, as the bridge would.
func (n network) send(frame []byte) { n.Helper(); n.sendOn("vnet0", frame) }

func (n network) sendOn(dev string, frames ...[]byte) {
	n.Helper()
	s, err := announce.Open()
	n.Must(err)
	defer func() { n.Must(s.Close()) }()
	at := announce.Outlet{Dev: dev, Index: n.Link(dev).Attrs().Index}
	for _, f := range frames {
		n.Must(s.Send(at, f))
	}
}

// Only what the guest alone would have got is kept.
func TestWhatIsKept(t *testing.T) {
	n := newNetwork(t)
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"IPv4":                 {toGuest, true},
		"IPv6":                 {ether(guestMAC, unix.ETH_P_IPV6), true},
		"UDP":                  {of(unix.IPPROTO_UDP, guestMAC, unix.ETH_P_IP), false},
		"UDP over IPv6":        {of(unix.IPPROTO_UDP, guestMAC, unix.ETH_P_IPV6), false},
		"ARP":                  {ether(guestMAC, unix.ETH_P_ARP), false},
		"of another's MAC":     {ether(announce.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x57}, unix.ETH_P_IP), false},
		"of another maker's":   {ether(announce.MAC{0x52, 0x54, 1, 0x12, 0x34, 0x56}, unix.ETH_P_IP), false},
		"broadcast":            {ether(announce.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, unix.ETH_P_IP), false},
		"in a VLAN of its own": {ether(guestMAC, unix.ETH_P_IP, 0x81, 0, 0, 7), false},
	} {
		k, err := openTapQueue(n.Link("vnet0").Attrs().Index, guestMAC)
		n.Must(err)
		n.send(c.frame)
		n.in(n.guest, func() { n.sendOn("old", ether(guestMAC, unix.ETH_P_IP)) }) // the other way: it comes from the guest
		frame, err := k.next(make([]byte, maxFrame))
		if got := err == nil; got != c.want {
			t.Errorf("%s: kept %v, %v", name, got, err)
		}
		if c.want && !bytes.Equal(frame[tagSize+vnetHeader:], c.frame) {
			t.Errorf("%s: kept %x", name, frame)
		}
		if !k.isEmpty() {
			t.Errorf("%s: kept more than that", name)
		}
		k.close()
	}
}

// What is kept is bounded, and the oldest is kept.
func TestKeptIsBounded(t *testing.T) {
	n := newNetwork(t)
	k, err := openTapQueue(n.Link("vnet0").Attrs().Index, guestMAC)
	n.Must(err)
	defer k.close()
	s, err := announce.Open()
	n.Must(err)
	defer func() { n.Must(s.Close()) }()
	at, frame := announce.Outlet{Dev: "vnet0", Index: n.Link("vnet0").Attrs().Index}, bytes.Clone(toGuest)
	const sent = 20_000
	for i := range sent {
		frame[20], frame[21] = byte(i>>8), byte(i)
		n.Must(s.Send(at, frame))
	}
	kept, buffer := 0, make([]byte, maxFrame)
	for {
		frame, err := k.next(buffer)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		n.Must(err)
		if at := tagSize + vnetHeader + 20; int(frame[at])<<8|int(frame[at+1]) != kept {
			t.Fatalf("frame %d is %x", kept, frame[at:])
		}
		kept++
	}
	if kept < 1000 || kept == sent {
		t.Errorf("kept %d of %d frames", kept, sent)
	}
}

// A card that the kernel has on no bridge has no relay, and that is no error.
func TestNoBridge(t *testing.T) {
	n := newNetwork(t)
	n.Must(netlink.LinkSetNoMaster(n.Link("vnet0")))
	if p, err := placeOf(n.host, announce.Card{MAC: guestMAC, Dev: "vnet0"}); err == nil {
		t.Errorf("it is at %+v", p)
	}
}

// Without the right to open a packet socket there is one error, and nothing is left behind.
func TestWithoutNetRaw(t *testing.T) {
	n := newNetwork(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of this thread
	var caps [2]unix.CapUserData
	n.Must(unix.Capget(&header, &caps[0]))
	caps[0].Effective &^= 1 << unix.CAP_NET_RAW
	n.Must(unix.Capset(&header, &caps[0]))
	if _, err := open(n.host, "vm1", guestXML, quiet()); !errors.Is(err, unix.EPERM) {
		t.Errorf("opened: %v", err)
	}
}
