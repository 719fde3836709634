package notes

import (
	"slices"
	"testing"
	"time"
)

func TestLeavingRules(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct{ got, want bool }{
		"a migration under way":               {Intent{Way: Outward, Began: ago(time.Minute)}.IsLeaving(now), true},
		"one to here":                         {Intent{Way: Inward, Began: ago(time.Minute)}.IsLeaving(now), false},
		"one that was interrupted long ago":   {Intent{Way: Outward, Began: ago(time.Hour)}.IsLeaving(now), false},
		"of a clock that was set":             {Intent{Way: Outward, Began: ago(-time.Hour)}.IsLeaving(now), false},
		"moved, and not stopped yet":          {Departure{At: ago(time.Second)}.AwaitsStop(now), true},
		"moved and stopped":                   {Departure{At: ago(time.Second), Stopped: true}.AwaitsStop(now), false},
		"moved long ago, and never stopped":   {Departure{At: ago(time.Minute)}.AwaitsStop(now), false},
		"moved in a time that is yet to come": {Departure{At: ago(-time.Minute)}.AwaitsStop(now), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", name, c.got)
		}
	}
}

func TestLeaving(t *testing.T) {
	now := time.Now()
	s := Open(t.TempDir(), t.TempDir())
	if got := s.Leaving("vm1", now); len(got) > 0 {
		t.Errorf("without notes: %q", got)
	}
	for _, guest := range []string{"vm1", "vm3", "vm2"} {
		if err := s.Intents.Save("r-"+guest, Intent{Way: Outward, Guest: guest, Peer: "n2", Began: now}); err != nil {
			t.Fatal(err)
		}
	}
	for _, guest := range []string{"vm1", "vm2", "vm4"} {
		if err := s.Departures.Save("r-"+guest, Departure{Guest: guest, Peer: "n2", At: now}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.Leaving("vm1", now), []string{"vm2", "vm3", "vm4"}; !slices.Equal(got, want) {
		t.Errorf("%q are leaving, want %q", got, want)
	}
}

func TestAgeRules(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	moved := func(guest, peer string, d time.Duration) bool {
		return Departure{Guest: guest, Peer: peer, At: ago(d)}.IsTo("n2", "g", now)
	}
	for name, c := range map[string]struct{ got, want bool }{
		"may return":                        {moved("g", "N2", time.Minute), true},
		"another guest's move":              {moved("h", "n2", time.Minute), false},
		"moved to another node":             {moved("g", "n3", time.Minute), false},
		"moved long ago":                    {moved("g", "n2", returnTime), false},
		"moved in a time to come":           {moved("g", "n2", -time.Second), false},
		"of this drain":                     {Departure{At: ago(time.Second)}.IsOfThisDrain(now), true},
		"of another drain":                  {Departure{At: ago(time.Minute)}.IsOfThisDrain(now), false},
		"interrupted":                       {Intent{Began: ago(30 * time.Minute)}.IsRecent(now), true},
		"interrupted, the clock was set":    {Intent{Began: ago(-30 * time.Minute)}.IsRecent(now), true},
		"interrupted long ago":              {Intent{Began: ago(2 * time.Hour)}.IsRecent(now), false},
		"failed":                            {Failure{Guest: "g", At: ago(time.Minute)}.ExplainsStop("g", now), true},
		"failed, another guest":             {Failure{Guest: "h", At: ago(time.Minute)}.ExplainsStop("g", now), false},
		"failed long ago":                   {Failure{Guest: "g", At: ago(time.Hour)}.ExplainsStop("g", now), false},
		"Pacemaker was never asked":         {Utilization{}.MayRetry(now), true},
		"Pacemaker failed lately":           {Utilization{Failed: ago(time.Minute)}.MayRetry(now), false},
		"Pacemaker failed long ago":         {Utilization{Failed: ago(time.Hour)}.MayRetry(now), true},
		"Pacemaker fails in a time to come": {Utilization{Failed: ago(-time.Hour)}.MayRetry(now), true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", name, c.got)
		}
	}
}
