package lab_test

import (
	"fmt"
	"os"
	"testing"
)

// A whole lab run has more cases than fit in half an hour: the kill matrix, the outages, the peers' suites, the long
// accidents. They are dealt out in shares. Which share a run has is an argument, VMFERRY_SHARE, and nothing else: the
// same command tests the same cases every day.

// usualShare is the one that `make test` has.
const usualShare = "1/18"

// share is one of parts shares, numbered from 1. The zero value is all of them.
type share struct{ number, parts int }

// parseShare reads "all" or NUMBER/PARTS; "" is [usualShare].
func parseShare(text string) (share, error) {
	switch text {
	case "":
		return parseShare(usualShare)
	case "all":
		return share{}, nil
	}
	var s share
	var rest string
	n, _ := fmt.Sscanf(text+" ", "%d/%d%s", &s.number, &s.parts, &rest)
	if n != 2 || s.number < 1 || s.number > s.parts {
		return share{}, fmt.Errorf("VMFERRY_SHARE is %q: use all, or a share such as %s", text, usualShare)
	}
	return s, nil
}

func (s share) String() string {
	if s.parts == 0 {
		return "all"
	}
	return fmt.Sprintf("%d/%d", s.number, s.parts)
}

// has reports whether a case is in the share: numbers are dealt out in turn.
func (s share) has(number int) bool { return s.parts == 0 || number%s.parts == s.number-1 }

// hasOf is has for a group of few cases, of which every share has one.
func (s share) hasOf(number, of int) bool {
	return s.parts == 0 || number%of == (s.number-1)%of
}

// shareOf is the share that this run has.
func shareOf(t *testing.T) share {
	t.Helper()
	s, err := parseShare(os.Getenv("VMFERRY_SHARE"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseShare(t *testing.T) {
	for _, c := range []struct {
		text string
		want share
		ok   bool
	}{
		{"", share{1, 18}, true},
		{"all", share{}, true},
		{"2/6", share{2, 6}, true},
		{"1/1", share{1, 1}, true},
		{"0/6", share{}, false},
		{"7/6", share{}, false},
		{"-1/6", share{}, false},
		{"1/6x", share{}, false},
		{"1", share{}, false},
		{"All", share{}, false},
	} {
		got, err := parseShare(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
		if back, err := parseShare(got.String()); c.ok && (err != nil || back != got) {
			t.Errorf("%q is written as %q, which is read as %+v, %v", c.text, got, back, err)
		}
	}
}

// All shares together have every kill, no kill is in two of them, and none is empty.
func TestSharesOfTheKillMatrix(t *testing.T) {
	all := kills(share{})
	for _, parts := range []int{1, 2, 6, 7} {
		had := map[string]int{}
		for number := 1; number <= parts; number++ {
			some := kills(share{number, parts})
			if len(some) < len(all)/parts/2 {
				t.Errorf("share %d/%d has %d of %d kills", number, parts, len(some), len(all))
			}
			for _, k := range some {
				had[k.String()]++
			}
		}
		for _, k := range all {
			if had[k.String()] != 1 {
				t.Errorf("%s: in %d of %d shares", k, had[k.String()], parts)
			}
		}
	}
}

// Of a small group each share has something, and all shares together have everything.
func TestSharesOfASmallGroup(t *testing.T) {
	for of := 1; of <= 6; of++ {
		had := map[int]bool{}
		for number := 1; number <= 6; number++ {
			some := 0
			for i := range of {
				if (share{number, 6}).hasOf(i, of) {
					had[i] = true
					some++
				}
			}
			if some != 1 {
				t.Errorf("share %d/6 has %d of %d cases", number, some, of)
			}
		}
		if len(had) != of {
			t.Errorf("the shares together have %d of %d cases", len(had), of)
		}
	}
}
