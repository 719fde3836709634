package lease

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var (
	aSlot = Slot{Node: 2, Instance: Instance{1, 2, 3}, Generation: 7, Counter: 1 << 40, State: Moving, Reached: 3, Guests: 12,
		Watchdog: 10 * time.Second}
	aClaim = Claim{From: 2, Target: 1, Split: 9, Answers: 4, FromGeneration: 7, TargetGeneration: 3, Ordered: true, Quorate: true, First: 2,
		Members: 1, Reached: 2,
		Guests: 5}
	aHeader = Header{Identity: [16]byte{9}, Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha", "beta"}}
)

func TestRoundTrip(t *testing.T) {
	block := bytes.Repeat([]byte{0xff}, BlockSize)
	aSlot.Encode(block)
	if got, err := DecodeSlot(block, 2); err != nil || got != aSlot {
		t.Errorf("slot: %+v, %v", got, err)
	}
	if !bytes.Equal(block[sector:], make([]byte, BlockSize-sector)) {
		t.Error("a slot reaches past its first sector")
	}
	aClaim.Encode(block)
	if got, err := DecodeClaim(block, 2, 1); err != nil || got != aClaim {
		t.Errorf("claim: %+v, %v", got, err)
	}
	if err := aHeader.Encode(block); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeHeader(block); err != nil || !reflect.DeepEqual(got, aHeader) {
		t.Errorf("header: %+v, %v", got, err)
	}
	full := aHeader
	full.Nodes = nil
	for i := range MaxNodes {
		full.Nodes = append(full.Nodes, fmt.Sprintf("node-%02d-%s", i, strings.Repeat("n", 14)))
	}
	full.Cluster = strings.Repeat("c", maxNames-MaxNodes*(1+22)-1)
	if err := full.Encode(block); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeHeader(block); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("full header: %+v, %v", got, err)
	}
}

// Each block has its own place.
func TestOffsets(t *testing.T) {
	seen := map[int64]string{0: "header"}
	place := func(offset int64, what string) {
		if other, taken := seen[offset]; taken || offset%BlockSize != 0 || offset+BlockSize > Size {
			t.Errorf("%s is at %d, with %q", what, offset, other)
		}
		seen[offset] = what
	}
	for node := 1; node <= MaxNodes; node++ {
		place(SlotOffset(node), fmt.Sprint("slot ", node))
		for target := 1; target <= MaxNodes; target++ {
			place(ClaimOffset(node, target), fmt.Sprint("claim ", node, target))
		}
	}
}

func TestDamage(t *testing.T) {
	good := make([]byte, BlockSize)
	aSlot.Encode(good)
	for name, test := range map[string]struct {
		change func([]byte)
		want   error
	}{
		"zeros":             {func(b []byte) { clear(b) }, ErrEmpty},
		"a file system":     {func(b []byte) { copy(b, "XFSB") }, ErrForeign},
		"a claim":           {func(b []byte) { aClaim.Encode(b) }, ErrForeign},
		"torn in the midst": {func(b []byte) { clear(b[40:]) }, ErrChecksum},
		"one bit":           {func(b []byte) { b[30] ^= 4 }, ErrChecksum},
		"an unknown state":  {func(b []byte) { s := aSlot; s.State = 3; s.Encode(b) }, ErrForeign},
	} {
		block := bytes.Clone(good)
		test.change(block)
		if got, err := DecodeSlot(block, 2); !errors.Is(err, test.want) || got != (Slot{}) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, test.want)
		}
	}
	if _, err := DecodeSlot(good, 3); err == nil {
		t.Error("the slot of node 2 passes for the one of node 3")
	}
	if _, err := DecodeSlot(good[:100], 2); err == nil {
		t.Error("100 bytes pass for a slot")
	}
}

func TestHeaderCheck(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Header)
		want   string
	}{
		"one node":     {func(h *Header) { h.Nodes = h.Nodes[:1] }, "a guard needs 2 to 16 nodes, not 1"},
		"a node twice": {func(h *Header) { h.Nodes = []string{"a", "b", "a"} }, `node "a" is named twice`},
		"no name":      {func(h *Header) { h.Cluster = "" }, "a name is empty"},
		"a long name":  {func(h *Header) { h.Nodes = []string{"a", strings.Repeat("b", 256)} }, "too long"},
		"long names": {func(h *Header) {
			h.Nodes = nil
			for i := range MaxNodes {
				h.Nodes = append(h.Nodes, fmt.Sprintf("node%02d.a-long-domain.example", i))
			}
		}, "too long"},
		"an option":      {func(h *Header) { h.Nodes = []string{"a", "--b"} }, `the name "--b" is not one of a node`},
		"a blank":        {func(h *Header) { h.Nodes = []string{"a", "b c"} }, `the name "b c" is not one of a node`},
		"an unfit times": {func(h *Header) { h.Times.Kill = 0 }, "kill is 0s"},
	} {
		h := aHeader
		test.change(&h)
		if err := h.Encode(make([]byte, BlockSize)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestNewer(t *testing.T) {
	slot := func(generation, counter uint64) Slot { return Slot{Generation: generation, Counter: counter} }
	for name, test := range map[string]struct {
		a, b Slot
		want bool
	}{
		"the next renewal":          {slot(1, 6), slot(1, 5), true},
		"the same":                  {slot(1, 5), slot(1, 5), false},
		"a late write":              {slot(1, 4), slot(1, 5), false},
		"the next generation":       {slot(2, 1), slot(1, 5), true},
		"a late write of the first": {slot(1, 6), slot(2, 1), false},
	} {
		if got := test.a.Newer(test.b); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBeats(t *testing.T) {
	for name, test := range map[string]struct {
		a, b Claim
		want bool
	}{
		"ordered":           {Claim{From: 2, Ordered: true}, Claim{From: 1, Members: 2, Reached: 9, Guests: 9}, true},
		"a quorum":          {Claim{From: 2, Quorate: true}, Claim{From: 1, Members: 2, Reached: 9, Guests: 9}, true},
		"more nodes":        {Claim{From: 2, Members: 2}, Claim{From: 1, Members: 1, Reached: 9, Guests: 9}, true},
		"more reached":      {Claim{From: 2, Reached: 2}, Claim{From: 1, Reached: 1, Guests: 9}, true},
		"more guests":       {Claim{From: 2, Guests: 1}, Claim{From: 1}, true},
		"the first of all":  {Claim{From: 3, First: 1}, Claim{From: 2, First: 2}, true},
		"the lower number":  {Claim{From: 1}, Claim{From: 2}, true},
		"the higher number": {Claim{From: 2}, Claim{From: 1}, false},
	} {
		if got := test.a.Beats(test.b); got != test.want || test.b.Beats(test.a) == got {
			t.Errorf("%s: %v, and the other way %v", name, got, test.b.Beats(test.a))
		}
	}
}

func TestBound(t *testing.T) {
	a, b := Claim{From: 1, Target: 2, Split: 7, Answers: 8}, Claim{From: 2, Target: 1, Split: 8, Answers: 7}
	for name, test := range map[string]struct {
		change func(a, b *Claim)
		want   bool
	}{
		"each names the other":  {func(*Claim, *Claim) {}, true},
		"one names none":        {func(_, b *Claim) { b.Answers = 0 }, false},
		"one names another":     {func(a, _ *Claim) { a.Answers = 6 }, false},
		"one is withdrawn":      {func(a, _ *Claim) { a.Withdrawn = true }, false},
		"of other nodes":        {func(_, b *Claim) { b.From = 3 }, false},
		"none was made by both": {func(a, b *Claim) { *a, *b = Claim{From: 1, Target: 2}, Claim{From: 2, Target: 1} }, false},
	} {
		a, b := a, b
		test.change(&a, &b)
		if a.Bound(b) != test.want || b.Bound(a) != test.want {
			t.Errorf("%s: %v, %v", name, a.Bound(b), b.Bound(a))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		block := make([]byte, BlockSize)
		copy(block, b)
		if len(b) >= sector { // a checksum that fits, so that what is below it is read
			(&encoder{}).end(block)
		}
		again := make([]byte, BlockSize)
		switch which % 3 {
		case 0:
			if s, err := DecodeSlot(block, 2); err == nil {
				s.Encode(again)
				if got, err := DecodeSlot(again, 2); err != nil || got != s {
					t.Errorf("%+v becomes %+v, %v", s, got, err)
				}
			}
		case 1:
			if c, err := DecodeClaim(block, 2, 1); err == nil && c.Split != 0 {
				c.Encode(again)
				if d, err := DecodeClaim(again, 2, 1); err != nil || d != c {
					t.Errorf("%+v becomes %+v, %v", c, d, err)
				}
			}
		case 2:
			if h, err := DecodeHeader(block); err == nil && h.Check() != nil {
				t.Errorf("%+v is read though it is refused: %v", h, h.Check())
			}
		}
	})
}
