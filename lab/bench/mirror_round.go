package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/migrate/wait"
)

// What is changed in a round, in MiB, and of what disk.
const (
	roundChanged = 10
	roundDisk    = 2560
	roundWritten = 420
	// roundTime is for how long processor times are read: in a round, and before it.
	roundTime = 3 * time.Second
	// appliedEvery is between two looks whether a round is applied.
	appliedEvery = 2 * time.Millisecond
)

// stretch is the processor time of all that runs on the nodes in a stretch of time, both in milliseconds.
type stretch struct{ took, spent float64 }

// beyond is what was spent in a stretch beyond what is usual.
func (s stretch) beyond(usual stretch) float64 { return s.spent - usual.spent*s.took/usual.took }

// over measures what is spent while do is done, and then until it has taken the least time.
func (l *locals) over(ctx context.Context, least time.Duration, do func() error) (s stretch, err error) {
	was, err := l.nodesSpent(ctx)
	if err != nil {
		return s, err
	}
	begun := time.Now()
	if err := do(); err != nil {
		return s, err
	}
	if err := wait.For(ctx, least-time.Since(begun)); err != nil {
		return s, err
	}
	now, err := l.nodesSpent(ctx)
	return stretch{ms(time.Since(begun)), now - was}, err
}

// nodesSpent is the processor time of all that ran on the nodes so far, the guests with it, in milliseconds.
func (l *locals) nodesSpent(ctx context.Context) (sum float64, err error) {
	for _, name := range l.Cluster.Nodes {
		g, err := l.nodeGroup(ctx, name)
		if err != nil {
			return 0, err
		}
		text, err := os.ReadFile(filepath.Join(g.of(""), "cpu.stat"))
		if err != nil {
			return 0, err
		}
		used, err := parseUsage(text)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// peerRound is a round of what is there without vmferry, for bash(1): libvirt's incremental backup into a file, which is
// uploaded to the other node's pool and committed into the copy there. $1 is the guest, $2 its disk, $3 the other node, $4
// the checkpoint before, or nothing for all of the disk, and $5 the next one.
const peerRound = `
virsh() { command virsh --quiet "$@"; }
delta=$2.$5 volume=${2##*/}.$5 base=
if [ "$4" ]; then base="<incremental>$4</incremental>"; else volume=${2##*/}; fi
echo "<domainbackup mode='push'>$base<disks><disk name='vda' type='file'><driver type='qcow2'/>
<target file='$delta'/></disk></disks></domainbackup>" >/run/"$1".backup
echo "<domaincheckpoint><name>$5</name></domaincheckpoint>" >/run/"$1".checkpoint
virsh backup-begin "$1" /run/"$1".backup /run/"$1".checkpoint
until [[ $(virsh domjobinfo "$1") == *None* ]]; do :; done
[[ $(virsh domjobinfo "$1" --completed) == *Completed* ]]
virsh --connect qemu+tcp://"$3"/system \
	"vol-create-as guests $volume $(stat --format=%s "$delta") --allocation 0 --format raw; vol-upload $volume $delta --pool guests"
rm "$delta"
if [ "$4" ]; then
	ssh "$3" qemu-img commit -q -d -t none "$delta"
	virsh --connect qemu+tcp://"$3"/system vol-delete "$volume" --pool guests
	virsh checkpoint-delete "$1" "$4"
fi`

// mirrorRound measures a round of a few MiB.
func mirrorRound(ctx context.Context, s *Stage) ([]Result, error) {
	kind := localKind{name: "round", first: 81, disk: roundDisk, written: roundWritten, interval: seldom,
		peer: []cluster.Parameter{}}
	var walls, cpus [2][]float64
	var answers []float64
	err := s.localGuests(ctx, kind, func(ctx context.Context, l *locals) error {
		last, next := "", 0
		peer := func() error {
			next++
			name := fmt.Sprintf("peer-%d", next)
			err := l.runAgent(ctx, l.node(), []string{"env"}, "bash", "-euo", "pipefail", "-c", peerRound, "bash", l.peer.Name,
				l.peer.spec.Disk, l.there(l.peer), last, name)
			last = name
			return err
		}
		l.Progress("copying the peer's disk")
		if err := peer(); err != nil {
			return err
		}
		answered := 0.0
		ours := func() (err error) { answered, err = l.sync(ctx); return err }
		err := turns(sides, s.N, true, func(round int, who side) error {
			l.Progress(fmt.Sprintf("mirror-round: round %d of %d, %s", round+1, s.N, who.label))
			g, do, i := l.peer, peer, 1
			if who.ours {
				g, do, i = l.ours, ours, 0
			}
			wall, cpu, err := l.roundOnce(ctx, g, round, do)
			if err != nil || round < 0 {
				return err
			}
			walls[i], cpus[i] = append(walls[i], wall/1000), append(cpus[i], cpu)
			if who.ours {
				answers = append(answers, answered)
			}
			return nil
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, syncTime, errors.New("the replica is not compared"))
		defer cancel()
		_, err = l.Cluster.Run(ctx, l.node(), "vmferry", "mirror", "verify", l.ours.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return roundResults(walls, cpus, answers), nil
}

func roundResults(walls, cpus [2][]float64, answers []float64) []Result {
	const peerName = "virsh backup"
	wall := compare("mirror-round", "s", peerName, walls[0], walls[1])
	wall.Notes = []string{
		fmt.Sprintf("%d MiB changed of a disk of %d MiB, %d MiB of which have data; to reach: 0.6 s and a ratio of 1", roundChanged,
			roundDisk, roundWritten),
		fmt.Sprintf("ours until the replica has applied it; vmferry says after %.0f ms (median) that it cannot be lost any more",
			Summarize(answers).P50),
		"the peer is a script: backup-begin into a file, vol-upload over TCP without encryption, and qemu-img commit over ssh",
	}
	cpu := compare("mirror-round-cpu", "ms", peerName, cpus[0], cpus[1])
	cpu.Notes = []string{fmt.Sprintf("all programs on both nodes in %s, QEMU and sshd with them, less what they took in %[1]s before it; "+
		"to reach: a ratio of 1", roundTime)}
	return []Result{wall, cpu}
}

// roundOnce has a guest change its disk, and makes a round.
func (l *locals) roundOnce(ctx context.Context, g *local, round int, do func() error) (wall, cpu float64, err error) {
	first := uint64((round + 1) * roundChanged % (roundWritten - roundChanged))
	if err := g.newClient(0).Fill(ctx, first, roundChanged); err != nil {
		return 0, 0, err
	}
	if err := wait.For(ctx, settle); err != nil {
		return 0, 0, err
	}
	idle, err := l.over(ctx, roundTime, func() error { return nil })
	if err != nil {
		return 0, 0, err
	}
	busy, err := l.over(ctx, roundTime, func() error {
		begun := time.Now()
		err := do()
		wall = ms(time.Since(begun))
		return err
	})
	return wall, busy.beyond(idle), err
}

// sync makes a round of ours, and returns when the replica has applied it. The round was answered after so many
// milliseconds.
func (l *locals) sync(ctx context.Context) (answered float64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, errors.New("the round does not end"))
	defer cancel()
	begun := time.Now()
	if err := l.runAgent(ctx, l.here(l.ours), []string{"env"}, "vmferry", "mirror", "sync", l.ours.Name); err != nil {
		return 0, err
	}
	answered = ms(time.Since(begun))
	for {
		m, err := l.view.Manifest(l.there(l.ours), l.ours.UUID)
		if err != nil || isSynced(m, begun) {
			return answered, err
		}
		if err := wait.For(ctx, appliedEvery); err != nil {
			return 0, context.Cause(ctx)
		}
	}
}
