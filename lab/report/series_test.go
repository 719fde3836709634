package report

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOutages(t *testing.T) {
	for _, tt := range []struct {
		name, sent, answered string
		want                 []span
	}{
		{"nothing", "", "", nil},
		{"all answered", "1111", "1111", nil},
		{"one lost", "111", "101", []span{{1, 2}}},
		{"some answered", "333", "313", nil},
		{"silence is no outage", "1001", "1001", nil},
		{"silence within an outage", "110101", "100001", []span{{1, 4}}},
		{"silence after an outage", "11001", "10001", []span{{1, 2}}},
		{"an answer of before ends it", "1101", "1011", []span{{1, 2}}},
		{"until the end", "1111", "11", []span{{2, 4}}},
		{"two", "11111", "10101", []span{{1, 2}, {3, 4}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Series{BucketMS: 1, Sent: counts(tt.sent), Answered: counts(tt.answered)}
			if got := s.outages(1); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func counts(text string) []uint32 {
	var out []uint32
	for _, c := range text {
		out = append(out, uint32(c-'0'))
	}
	return out
}

func TestBlackout(t *testing.T) {
	series := &Series{Start: zero, BucketMS: 10, Sent: counts("1111111"), Answered: counts("1011001")}
	late := &Series{Start: zero, BucketMS: 10, Sent: counts("1111"), Answered: counts("1111"),
		RTTMaxUS: []uint32{1, 2, 9, 3}}
	for _, tt := range []struct {
		name string
		lane lane
		want band
		ok   bool
	}{
		{"none", lane{series: series}, band{}, false},
		{"the probe's word", lane{series: series, blackoutMS: 15, blackoutAt: zero.Add(7 * time.Millisecond)},
			band{7, 15}, true},
		{"the longest outage", lane{series: series, blackoutMS: 22}, band{40, 22}, true},
		{"the slowest answer", lane{series: late, blackoutMS: 30}, band{20, 30}, true},
		{"nowhere", lane{series: &Series{BucketMS: 1}, blackoutMS: 30}, band{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := tt.lane.blackout(); got != tt.want || ok != tt.ok {
				t.Errorf("got %v, %v, want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestPieces(t *testing.T) {
	for _, tt := range []struct {
		name   string
		keep   []span
		stride int
		want   []piece
	}{
		{"all fine", []span{{3, 4}}, 1, []piece{{span{0, 100}, 1}}},
		{"nothing to keep", nil, 8, []piece{{span{0, 100}, 8}}},
		{"one", []span{{20, 30}}, 8, []piece{{span{0, 20}, 8}, {span{20, 30}, 1}, {span{30, 100}, 8}}},
		{"overlapping, unsorted", []span{{25, 40}, {20, 30}}, 8,
			[]piece{{span{0, 20}, 8}, {span{20, 30}, 1}, {span{30, 40}, 1}, {span{40, 100}, 8}}},
		{"at both ends", []span{{0, 5}, {90, 120}}, 8, []piece{{span{0, 5}, 1}, {span{5, 90}, 8}, {span{90, 100}, 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := pieces(100, tt.keep, tt.stride); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	for _, tt := range []struct{ total, budget, want int }{{0, 10, 1}, {10, 10, 1}, {11, 10, 2}, {40, 10, 4}} {
		if got := thinning(tt.total, tt.budget); got != tt.want {
			t.Errorf("thinning(%d, %d) = %d, want %d", tt.total, tt.budget, got, tt.want)
		}
	}
}

func TestOutagesNeedProbes(t *testing.T) {
	s := &Series{BucketMS: 1, Sent: counts("1111111111"), Answered: counts("1001100010")}
	if got, want := s.outages(3), []span{{5, 8}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSettle(t *testing.T) {
	for _, tt := range []struct {
		name, sent, answered string
		rtt                  []uint32 // µs, with buckets of 1 ms
		outages              []span
		want                 string
	}{
		{"in time", "111", "111", nil, nil, "111"},
		{"one bucket late", "1010", "0101", []uint32{0, 900, 0, 900}, nil, "1010"},
		{"two come together", "111", "102", []uint32{9, 0, 900}, nil, "111"},
		{"lost for good", "1111", "1011", nil, nil, "1011"},
		{"too far back", "1111", "1012", []uint32{9, 0, 9, 900}, nil, "1012"},
		{"the outage stays", "11111", "10004", []uint32{9, 0, 0, 0, 3500}, []span{{1, 4}}, "10004"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Series{BucketMS: 1, Sent: counts(tt.sent), Answered: counts(tt.answered), RTTMaxUS: tt.rtt}
			if got := s.realign(tt.outages).Answered; !slices.Equal(got, counts(tt.want)) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
			if !slices.Equal(s.Answered, counts(tt.answered)) {
				t.Error("the series itself was changed")
			}
		})
	}
}

// TestThinningLosesNothing: merged or not, every probe is on the page.
func TestThinningLosesNothing(t *testing.T) {
	r := sample(1, 5, 45)
	for _, budget := range []int{pageBudget, 9000, 700} {
		for _, lane := range r.data(budget).Figures["0-0"].Lanes {
			var sent uint32
			for _, p := range lane.Pieces {
				for _, v := range unpack(t, p.Sent) {
					sent += v
				}
			}
			if sent != 9000 {
				t.Errorf("budget %d, %s: %d probes on the page, want 9000", budget, lane.Proto, sent)
			}
		}
	}
}

// unpack undoes pack as page.js does.
func unpack(t *testing.T, p packed) []uint32 {
	t.Helper()
	var out []uint32
	read := func(s string) uint32 {
		var v uint32
		for _, c := range s {
			v = v<<6 | uint32(strings.IndexRune(digits, c))
		}
		return v
	}
	for s := p.Text; s != ""; {
		if s[0] == repeat {
			last := out[len(out)-1]
			for range read(s[1:4]) {
				out = append(out, last)
			}
			s = s[4:]
			continue
		}
		out, s = append(out, read(s[:p.Width])), s[p.Width:]
	}
	return out
}

func TestPack(t *testing.T) {
	long := make([]uint32, maxRepeat+500_000)
	for _, tt := range []struct {
		name   string
		values []uint32
		text   string // "" is not compared
	}{
		{"empty", nil, ""},
		{"single", []uint32{7}, "7"},
		{"short run", []uint32{7, 7, 7}, "777"},
		{"run", []uint32{7, 7, 7, 7, 7, 7, 8}, "7*0058"},
		{"two digits", []uint32{64, 63, 63, 63, 63}, "100_*003"},
		{"largest", []uint32{math.MaxUint32, 0}, "3_____000000"},
		{"longer than a run can be", long, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pack(tt.values)
			if tt.text != "" && p.Text != tt.text {
				t.Errorf("packed as %q, want %q", p.Text, tt.text)
			}
			if got := unpack(t, p); !slices.Equal(got, tt.values) {
				t.Errorf("%d values came back as %d others", len(tt.values), len(got))
			}
		})
	}
}

func TestRTTStep(t *testing.T) {
	if rttStep(0) != 0 || rttStep(1) == 0 || rttStep(math.MaxUint32) != rttSteps {
		t.Error("the ends of the scale are off")
	}
	for _, us := range []uint32{150, 900, 42_000, 1_500_000, 60_000_000} {
		back := math.Expm1(float64(rttStep(us)) / rttSteps * math.Log1p(rttTop))
		if off := math.Abs(back/float64(us) - 1); off > 0.005 {
			t.Errorf("%d µs comes back as %.0f", us, back)
		}
	}
	for _, tt := range []struct{ sent, answered, want uint32 }{{5, 5, 0}, {5, 4, 2}, {4, 5, 1}, {3, 5, 3}} {
		if got := zigzag(tt.sent, tt.answered); got != tt.want {
			t.Errorf("zigzag(%d, %d) = %d, want %d", tt.sent, tt.answered, got, tt.want)
		}
	}
}

func TestTrigger(t *testing.T) {
	series := &Series{Start: zero, BucketMS: 1, Sent: []uint32{1}}
	guests := []Guest{{UDP: &UDP{Series: series}}}
	later := zero.Add(time.Second)
	for _, tt := range []struct {
		name string
		s    Scenario
		want time.Time
	}{
		{"said", Scenario{Trigger: later, Events: []Event{{At: zero}}}, later},
		{"first event", Scenario{Events: []Event{{At: later.Add(1)}, {At: later}}, Guests: guests}, later},
		{"series", Scenario{Guests: guests}, zero},
		{"nothing", Scenario{}, time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.s.trigger(); !got.Equal(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
