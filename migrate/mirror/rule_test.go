package mirror

import (
	"strings"
	"testing"
	"time"
)

func as(role Role, epoch uint64) *Manifest {
	return with(func(m *Manifest) { m.Role, m.Epoch = role, epoch })
}

func closed(m *Manifest) *Manifest {
	m.Closed = true
	return m
}

// handed is a truth whose guest began to move 30 seconds after noon.
func handed(m *Manifest) *Manifest {
	m.Handed = noon.Add(-30 * time.Second)
	return m
}

func arriving(m *Manifest) *Manifest {
	m.Arriving = true
	return m
}

func TestHasArrived(t *testing.T) {
	for _, c := range []struct {
		own, peer *Manifest
		want      bool
	}{
		{arriving(as(Replica, 3)), as(Replica, 4), true},
		{arriving(as(Replica, 3)), as(Replica, 3), false},
		{arriving(as(Replica, 3)), as(Truth, 4), false},
		{arriving(as(Replica, 3)), nil, false},
		{as(Replica, 3), as(Replica, 4), false},
		{nil, as(Replica, 4), false},
	} {
		if got := (Known{Peer: c.peer}).HasArrived(c.own); got != c.want {
			t.Errorf("%+v, %+v: %t", c.own, c.peer, got)
		}
	}
}

func ran(m *Manifest) *Manifest {
	m.Ran = true
	return m
}

func TestJudge(t *testing.T) {
	const minute = time.Minute
	known := func(epoch uint64, peer *Manifest) Known {
		return Known{Epoch: epoch, Node: "north", Sure: true, Peer: peer}
	}
	none := with(func(m *Manifest) { m.Disks[0].Whole = Point{} })
	for name, tt := range map[string]struct {
		own    *Manifest
		k      Known
		most   time.Duration
		after  time.Duration // since the round of vda at noon; that of vdb was a minute earlier
		accept bool
		want   Decision // of Why a part
	}{
		"nothing is known":              {nil, Known{}, 0, 0, true, Decision{Why: "not known"}},
		"nothing is known of a truth":   {as(Truth, 3), Known{Epoch: 3}, 0, 0, true, Decision{Why: "not known"}},
		"nothing is known of a replica": {as(Replica, 3), Known{}, 0, 0, true, Decision{Why: "not known"}},
		"the first start":               {nil, known(0, nil), 0, 0, false, Decision{Verdict: Start, Epoch: 1}},
		"new node":                      {nil, known(3, nil), 0, 0, true, Decision{Why: "on north, and there is no replica here"}},
		"new node beside a replica":     {nil, known(0, as(Replica, 3)), 0, 0, true, Decision{Why: "no replica here"}},
		"new node beside a truth":       {nil, known(0, as(Truth, 3)), 0, 0, true, Decision{Why: "no replica here"}},

		"truth":                                        {as(Truth, 3), known(0, nil), 0, 0, false, Decision{Verdict: Start, Epoch: 3}},
		"truth with its replica":                       {as(Truth, 3), known(2, as(Replica, 3)), 0, 0, false, Decision{Verdict: Start, Epoch: 3}},
		"truth after another":                          {as(Truth, 3), known(2, as(Truth, 2)), 0, 0, false, Decision{Verdict: Start, Epoch: 3}},
		"truth that was closed":                        {closed(as(Truth, 3)), known(0, as(Replica, 3)), 0, 0, false, Decision{Verdict: Start, Epoch: 4}},
		"old truth":                                    {as(Truth, 3), known(4, nil), 0, 0, false, Decision{Why: "of epoch 3, and north has epoch 4", Accept: true}},
		"old truth, its winner is lost":                {as(Truth, 3), known(4, nil), 0, 0, true, Decision{Verdict: Start, Epoch: 5}},
		"old truth, by the peer":                       {as(Truth, 3), known(3, as(Truth, 4)), 0, 0, true, Decision{Why: "north has epoch 4"}},
		"old truth, the peer begins":                   {as(Truth, 3), known(3, as(Promoting, 4)), 0, 0, true, Decision{Why: "north has epoch 4"}},
		"old truth of a replica":                       {as(Truth, 3), known(3, as(Replica, 4)), 0, 0, false, Decision{Why: "north has epoch 4", Accept: true}},
		"old truth that was closed":                    {closed(as(Truth, 3)), known(4, nil), 0, 0, false, Decision{Why: "north has epoch 4", Accept: true}},
		"truth, the peer did not get on":               {as(Truth, 3), known(4, as(Replica, 3)), 0, 0, false, Decision{Verdict: Start, Epoch: 5}},
		"truth, the peer has an older replica":         {as(Truth, 3), known(4, as(Replica, 2)), 0, 0, false, Decision{Verdict: Start, Epoch: 5}},
		"truth, a newer replica":                       {as(Truth, 3), known(5, as(Replica, 4)), 0, 0, false, Decision{Why: "north has epoch 5", Accept: true}},
		"promoting, a mark is higher":                  {as(Promoting, 3), known(4, as(Replica, 3)), 0, 0, true, Decision{Why: "north has epoch 4"}},
		"two truths":                                   {as(Truth, 3), known(3, nil), 0, 0, false, Decision{Why: "both of epoch 3", Accept: true}},
		"two truths, accepted":                         {as(Truth, 3), known(3, nil), 0, 0, true, Decision{Verdict: Start, Epoch: 4}},
		"two truths, by the peer":                      {as(Truth, 3), known(0, as(Truth, 3)), 0, 0, true, Decision{Why: "both of epoch 3"}},
		"two truths, one closed":                       {closed(as(Truth, 3)), known(3, nil), 0, 0, false, Decision{Why: "both of epoch 3", Accept: true}},
		"truth beside one that became a replica of it": {as(Truth, 3), known(3, as(Replica, 4)), 0, 0, false, Decision{Why: "epoch 4", Accept: true}},

		"handed, and the peer has turned back": {handed(as(Truth, 3)), known(2, as(Replica, 3)), 2 * minute, minute, false,
			Decision{Verdict: Start, Epoch: 4, Loss: 90 * time.Second}},
		"handed, and nobody has told the peer": {handed(as(Truth, 3)), known(2, arriving(as(Replica, 3))), 2 * minute, minute, false,
			Decision{Verdict: Start, Epoch: 4, Loss: 90 * time.Second}},
		"handed, and the peer is dead": {handed(as(Truth, 3)), known(2, nil), 0, minute, false,
			Decision{Verdict: Start, Epoch: 4, Loss: 90 * time.Second}},
		"handed, too long ago": {handed(as(Truth, 3)), known(2, nil), minute, minute, false,
			Decision{Why: "lost would be", Loss: 90 * time.Second, Accept: true}},
		"handed, and the peer may have it": {handed(as(Truth, 3)), known(2, as(Truth, 3)), 0, minute, false,
			Decision{Why: "is not proven to be off", Loss: 90 * time.Second, Accept: true}},
		"handed, and the peer has it": {handed(as(Truth, 3)), known(2, as(Truth, 4)), 0, minute, true,
			Decision{Why: "north has epoch 4"}},
		"handed, and two truths": {handed(as(Truth, 3)), known(3, nil), 0, minute, false,
			Decision{Why: "both of epoch 3", Accept: true}},
		"left, and the peer has its guest": {as(Replica, 4), known(3, arriving(as(Replica, 3))), 0, minute, false,
			Decision{Why: "has moved to north", Loss: 2 * minute, Accept: true}},
		"left, and the peer is dead": {as(Replica, 4), known(3, nil), 0, minute, false,
			Decision{Verdict: Promote, Epoch: 5, Loss: 2 * minute}},
		"arriving, and the peer may have it": {arriving(as(Replica, 3)), known(3, handed(as(Truth, 3))), 0, minute, false,
			Decision{Why: "is not proven to be off", Loss: 2 * minute, Accept: true}},
		"a replica, and the guest ran from the disk": {ran(as(Replica, 3)), known(3, nil), 0, 0, false,
			Decision{Why: "ran here last", Accept: true}},
		"that, accepted":             {ran(as(Replica, 3)), known(3, nil), 0, 0, true, Decision{Verdict: Start, Epoch: 4}},
		"a truth that ran":           {ran(as(Truth, 3)), known(4, as(Truth, 4)), 0, 0, false, Decision{Why: "ran here last", Accept: true}},
		"a truth that ran, accepted": {ran(as(Truth, 3)), known(4, as(Truth, 4)), 0, 0, true, Decision{Verdict: Start, Epoch: 5}},
		"a mark of a peer at which the guest ran": {as(Truth, 3), known(4, ran(as(Replica, 3))), 0, 0, false,
			Decision{Why: "north has epoch 4", Accept: true}},

		"promoting":              {as(Promoting, 4), known(3, as(Truth, 3)), 0, 0, false, Decision{Verdict: Promote, Epoch: 4}},
		"promoting beside truth": {as(Promoting, 4), known(4, nil), 0, 0, true, Decision{Why: "both of epoch 4"}},
		"promoting, too late":    {as(Promoting, 4), known(5, nil), 0, 0, true, Decision{Why: "north has epoch 5"}},

		"replica": {as(Replica, 3), known(3, nil), 0, minute, false, Decision{Verdict: Promote, Epoch: 4, Loss: 2 * minute}},
		"replica that no attribute tells of": {as(Replica, 3), known(0, nil), 2 * minute, minute, false,
			Decision{Verdict: Promote, Epoch: 4, Loss: 2 * minute}},
		"replica, too old": {as(Replica, 3), known(3, nil), 2*minute - 1, minute, false,
			Decision{Why: "lost would be at most 120 s", Loss: 2 * minute, Accept: true}},
		"replica, too old, accepted": {as(Replica, 3), known(3, nil), 2*minute - 1, minute, true,
			Decision{Verdict: Promote, Epoch: 4, Loss: 2 * minute}},
		"replica of a truth that is up": {as(Replica, 3), known(3, as(Truth, 3)), 0, minute, false,
			Decision{Why: "north is up, or is not proven to be off, and may have newer disks: lost would be at most 120 s", Loss: 2 * minute, Accept: true}},
		"replica of a truth that is up and being made": {as(Replica, 3), known(3, as(Promoting, 3)), 0, minute, false,
			Decision{Why: "north is up", Loss: 2 * minute, Accept: true}},
		"replica of a truth that is up, accepted": {as(Replica, 3), known(3, as(Truth, 3)), 0, minute, true,
			Decision{Verdict: Promote, Epoch: 4, Loss: 2 * minute}},
		"replica from the future": {as(Replica, 3), known(3, nil), 0, -2 * minute, false,
			Decision{Why: "clock is before", Loss: Unknown, Accept: true}},
		"replica that is not whole":           {none, known(3, nil), 0, minute, true, Decision{Why: "not whole yet"}},
		"replica that is not whole, closed":   {closed(none), known(3, nil), 0, minute, true, Decision{Why: "not whole yet"}},
		"replica of no disk":                  {with(func(m *Manifest) { m.Disks = nil }), known(3, nil), 0, 0, true, Decision{Why: "not whole yet"}},
		"replica beside a lower one":          {as(Replica, 3), known(2, as(Replica, 2)), 0, 0, false, Decision{Verdict: Promote, Epoch: 4, Loss: minute}},
		"replica of an older epoch":           {as(Replica, 3), known(4, nil), 0, 0, false, Decision{Why: "has epoch 4", Loss: minute, Accept: true}},
		"replica of an older epoch, by peer":  {as(Replica, 3), known(3, as(Truth, 4)), 0, 0, false, Decision{Why: "has epoch 4", Loss: minute, Accept: true}},
		"replica of an older epoch, accepted": {as(Replica, 3), known(5, nil), 0, 0, true, Decision{Verdict: Promote, Epoch: 6, Loss: minute}},

		"closed":                     {closed(as(Replica, 3)), known(3, nil), 1, time.Hour, false, Decision{Verdict: Promote, Epoch: 4}},
		"closed, by both":            {closed(as(Replica, 3)), known(0, closed(as(Truth, 3))), 1, time.Hour, false, Decision{Verdict: Promote, Epoch: 4}},
		"closed, the clock is wrong": {closed(as(Replica, 3)), known(3, nil), 1, -time.Hour, false, Decision{Verdict: Promote, Epoch: 4}},
		"closed, and started since": {closed(as(Replica, 3)), known(4, nil), 0, 0, false,
			Decision{Why: "has epoch 4", Loss: minute, Accept: true}},
		"closed, and started since, by the peer": {closed(as(Replica, 3)), known(3, as(Truth, 4)), 0, 0, false,
			Decision{Why: "has epoch 4", Loss: minute, Accept: true}},
		"closed, and nobody knows whether it was started": {closed(as(Replica, 3)), known(0, nil), minute, minute, false,
			Decision{Why: "lost would be at most 120 s", Loss: 2 * minute, Accept: true}},
	} {
		if tt.own != nil && tt.own.Check() != nil {
			t.Fatalf("%s: %v", name, tt.own.Check())
		}
		got := Judge(tt.own, tt.k, tt.most, noon.Add(tt.after), tt.accept)
		if part := tt.want.Why; strings.Contains(got.Why, part) {
			tt.want.Why = got.Why
		}
		got.How = "" // see TestLoss
		if got != tt.want || (got.Verdict == Refuse) != (got.Why != "") {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// What is lost is by the clock that nobody sets, where it was in the same boot, or said to be by the other one.
func TestLoss(t *testing.T) {
	boot := Boot{"b", 100 * time.Hour}
	at := func(id string, up time.Duration) *Manifest {
		return with(func(m *Manifest) {
			m.Disks = m.Disks[:1]
			m.Disks[0].Boot = Boot{id, up}
		})
	}
	two := with(func(m *Manifest) {
		m.Disks[0].Boot, m.Disks[1].Boot = Boot{"b", 99 * time.Hour}, Boot{"b", 98 * time.Hour}
	})
	known := func(change func(*Known)) Known {
		k := Known{Epoch: 3, Node: "north", Sure: true, Boot: boot}
		change(&k)
		return k
	}
	as3 := known(func(*Known) {})
	for name, tt := range map[string]struct {
		own    *Manifest
		k      Known
		after  time.Duration
		accept bool
		want   string // "" for a refusal
		lost   string
	}{
		"both clocks":                  {at("b", 100*time.Hour-time.Minute), as3, time.Minute, false, "promote", "at most 60 s"},
		"the clock was set back":       {at("b", 99*time.Hour), as3, time.Minute, false, "promote", "at most 3600 s"},
		"it was set far back":          {at("b", 99*time.Hour), as3, -time.Hour, false, "promote", "at most 3600 s"},
		"it was set forward":           {at("b", 99*time.Hour), as3, 2 * time.Hour, false, "promote", "at most 7200 s"},
		"the oldest disk counts":       {two, as3, time.Minute, false, "promote", "at most 7200 s"},
		"another boot":                 {at("a", 99*time.Hour), as3, time.Minute, false, "promote", "at most 60 s, " + ByClock},
		"another boot, before":         {at("a", 99*time.Hour), as3, -time.Second, false, "", "not known"},
		"another boot, accepted":       {at("a", 99*time.Hour), as3, -2 * time.Hour, true, "promote", "writes of a time that is not known"},
		"no boot":                      {at("", 99*time.Hour), as3, time.Minute, false, "promote", "at most 60 s, " + ByClock},
		"no boot here":                 {at("", 0), known(func(k *Known) { k.Boot = Boot{} }), time.Minute, false, "promote", "at most 60 s, " + ByClock},
		"the peer is up":               {at("a", 0), known(func(k *Known) { k.Peer = as(Truth, 3) }), -time.Minute, false, "", "writes of a time that is not known"},
		"the peer is up, another boot": {at("a", 0), known(func(k *Known) { k.Peer = as(Truth, 3) }), time.Minute, false, "", "at most 60 s, " + ByClock},
		"closed":                       {closed(at("a", 0)), as3, -time.Hour, false, "promote", "at most 0 s, closed at 2026-05-04T12:00:00Z"},
	} {
		d := Judge(tt.own, tt.k, 0, noon.Add(tt.after), tt.accept)
		if (d.Verdict == Promote) != (tt.want != "") || d.Verdict == Promote && d.Lost() != tt.lost || !strings.Contains(d.Lost()+d.Why, tt.lost) {
			t.Errorf("%s: %+v, lost %s", name, d, d.Lost())
		}
	}
	if now, later := ThisBoot(), ThisBoot(); now.ID == "" || !now.IsSame(later) || later.Up < now.Up || now.Up <= 0 {
		t.Errorf("%+v, then %+v", now, later)
	}
}

// Two nodes that see each other never both start, and none starts where the other has a higher epoch.
func TestJudgeStartsOne(t *testing.T) {
	roles := []Role{Truth, Replica, Promoting}
	for _, a := range roles {
		for _, b := range roles {
			for epoch := uint64(1); epoch < 4; epoch++ {
				for flags := range 8 {
					one, two := as(a, 2), as(b, epoch)
					one.Closed, two.Closed = flags&1 != 0, flags&2 != 0
					accept := flags&4 != 0
					start := func(own, peer *Manifest) bool {
						k := Known{Sure: true, Peer: peer, Node: "other"}
						if peer.Role != Replica {
							k.Epoch = peer.Epoch
						}
						v := Judge(own, k, 0, noon.Add(time.Minute), accept)
						if v.Verdict != Refuse && v.Epoch < peer.Epoch {
							t.Errorf("%s of epoch %d starts at %d beside %s of %d", own.Role, own.Epoch, v.Epoch, peer.Role, peer.Epoch)
						}
						return v.Verdict == Start || v.Verdict == Promote && !accept
					}
					if (a != Replica || b != Replica) && start(one, two) && start(two, one) && !one.Closed && !two.Closed {
						t.Errorf("%s of epoch 2 and %s of %d both start, accepted: %t", a, b, epoch, accept)
					}
				}
			}
		}
	}
}

func TestAccepts(t *testing.T) {
	of := func(peer string, m *Manifest) *Manifest { m.Peer = peer; return m }
	for name, tt := range map[string]struct {
		own   *Manifest
		epoch uint64
		want  string
	}{
		"nothing yet":              {nil, 3, ""},
		"a replica's next round":   {as(Replica, 3), 3, ""},
		"a replica, higher":        {as(Replica, 3), 4, ""},
		"a replica, lower":         {as(Replica, 3), 2, "of epoch 3"},
		"a truth":                  {as(Truth, 3), 3, "current copy"},
		"a truth, lower":           {as(Truth, 3), 2, "current copy"},
		"an old truth":             {as(Truth, 3), 4, ""},
		"one that is being made":   {as(Promoting, 3), 4, "current copy"},
		"one that is being made 2": {as(Promoting, 3), 3, "current copy"},
		"of the same node":         {of("NORTH", as(Replica, 3)), 3, ""},
		"of another node":          {of("west", as(Replica, 3)), 3, "type vmferry mirror forget 6c1f"},
		"another node's old truth": {of("west", as(Truth, 3)), 4, "mirrored with west: if north"},
		"the most":                 {as(Replica, 3), 3 + epochStep, ""},
		"more":                     {as(Truth, 3), 4 + epochStep, "the most is 1003"},
		"the most at first":        {nil, maxNumber / 2, ""},
		"more at first":            {nil, maxNumber/2 + 1, "no successor"},
		"near the end":             {as(Replica, maxNumber/2), maxNumber/2 + 1, "no successor"},
	} {
		err := Accepts(tt.own, "north", tt.epoch)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNext(t *testing.T) {
	disk, all := whole().Disks[0], func(Point, Disk) bool { return true }
	bare := Disk{Target: disk.Target, Path: disk.Path, Size: disk.Size}
	changed := func(change func(*Disk)) Disk {
		d := bare
		change(&d)
		return d
	}
	for name, tt := range map[string]struct {
		peer *Manifest
		disk Disk
		has  func(Point, Disk) bool
		why  string
	}{
		"a delta":       {as(Replica, 3), bare, all, ""},
		"it has grown":  {as(Replica, 3), changed(func(d *Disk) { d.Size++ }), all, ""},
		"no replica":    {nil, bare, all, "no replica yet"},
		"a truth":       {as(Truth, 3), bare, all, "no replica yet"},
		"another epoch": {as(Replica, 2), bare, all, "epoch 2, and this is epoch 3"},
		"it is new":     {as(Replica, 3), changed(func(d *Disk) { d.Target = "vdc" }), all, "does not have the disk"},
		"another image": {as(Replica, 3), changed(func(d *Disk) { d.Path = "/img/c" }), all, "does not have the disk"},
		"not whole":     {with(func(m *Manifest) { m.Disks[0].At = Point{} }), bare, all, "does not have the disk"},
		"it has shrunk": {as(Replica, 3), changed(func(d *Disk) { d.Size-- }), all, "smaller"},
		"the bitmap is bad": {as(Replica, 3), bare, func(p Point, d Disk) bool { return p != Point{3, 9} || d != bare },
			"checkpoint vmferry-3-9 is not there"},
	} {
		own := as(Truth, 3)
		own.Last = 11
		round, parts := Next(*own, tt.peer, []Disk{tt.disk}, tt.has)
		if round != (Point{3, 12}) || len(parts) != 1 || parts[0].Disk != tt.disk {
			t.Fatalf("%s: %v, %+v", name, round, parts)
		}
		p := parts[0]
		if p.Full != (tt.why != "") || !strings.Contains(p.Why, tt.why) || !p.Full && p.Base != (Point{3, 9}) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	// The replica's number counts where the truth's manifest is older; that of another epoch does not.
	own, peer := as(Truth, 3), as(Replica, 3)
	own.Last, peer.Generation = 4, 20
	if round, _ := Next(*own, peer, nil, all); round != (Point{3, 21}) {
		t.Errorf("after round 20 of the replica: %v", round)
	}
	peer.Epoch = 2
	if round, _ := Next(*own, peer, nil, all); round != (Point{3, 5}) {
		t.Errorf("after round 20 of another epoch: %v", round)
	}
	// Each disk has its own base.
	_, parts := Next(*own, as(Replica, 3), whole().Disks, all)
	if len(parts) != 2 || parts[0].Base != (Point{3, 9}) || parts[1].Base != (Point{3, 8}) {
		t.Errorf("%+v", parts)
	}
}
