package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
)

const uuid = "6c1f7f0e-0000-4000-8000-00000000abcd"

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// child is what a process does that is killed at a step.
type child struct {
	Dir, Kill string
	Promote   []mirror.Disk // else it serves
	Do        string        // or "recover" or "leave"
}

// TestMain plays the process that is killed, where the environment says so.
func TestMain(m *testing.M) {
	var c child
	if json.Unmarshal([]byte(os.Getenv("REPLICA_CHILD")), &c) != nil {
		os.Exit(m.Run())
	}
	e := engine(c.Dir)
	e.step = func(step string) {
		if step == c.Kill {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	var err error
	if c.Do == "recover" {
		err = e.Recover(context.Background(), uuid)
	} else if c.Do == "leave" {
		err = e.Leave(context.Background(), uuid)
	} else if c.Promote != nil {
		err = e.Promote(context.Background(), uuid, 2, c.Promote, time.Minute, tell)
	} else {
		err = e.Serve(context.Background(), os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// tell is a cluster that is told of an epoch.
func tell(context.Context) error { return nil }

func engine(dir string) *Engine {
	return &Engine{Store: mirror.Store{Dir: filepath.Join(dir, "m")}, Run: run, Now: func() time.Time { return noon },
		Room: Room, Patience: time.Minute}
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return string(out), err
}

// bench is a node's replica, and what the disks of the truth have.
type bench struct {
	*testing.T
	*Engine
	dir    string
	disks  []mirror.Disk
	models [][]byte
	point  mirror.Point
	bases  []mirror.Point // of the replica's disks
}

func newBench(t *testing.T) *bench {
	if _, err := exec.LookPath("qemu-nbd"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs qemu-utils:", err)
	}
	dir := t.TempDir()
	b := &bench{T: t, Engine: engine(dir), dir: dir, models: [][]byte{make([]byte, 3<<20), make([]byte, 1<<20+512)},
		point: mirror.Point{Epoch: 1}, bases: make([]mirror.Point, 2)}
	b.ok(os.Mkdir(filepath.Join(dir, "images"), 0o755))
	for i, m := range b.models {
		target := "vd" + string(rune('a'+i))
		b.disks = append(b.disks, mirror.Disk{Target: target, Path: filepath.Join(dir, "images", target+".qcow2"),
			Size: uint64(len(m))})
		fill(m[100000:500000], byte(i+1))
	}
	return b
}

func fill(b []byte, seed byte) {
	for i := range b {
		b[i] = byte(i)*7 + seed + byte(i>>8)*3
	}
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// image makes an image, and returns what the file has.
func (b *bench) image(path string, size int) []byte {
	b.Helper()
	_, err := run(b.Context(), "qemu-img", "create", "-q", "-f", "qcow2", path, strconv.Itoa(size))
	b.ok(err)
	raw, err := os.ReadFile(path)
	b.ok(err)
	return raw
}

// change writes to both disks as a guest does, and returns the pieces.
func (b *bench) change() (data []wire.Data) {
	seed := byte(b.point.Generation*31 + 5)
	for i, m := range b.models {
		at := int(b.point.Generation) * 65536 % (len(m) - 262144)
		fill(m[at:at+131072], seed+byte(i))
		clear(m[at+131072 : at+196608])
		data = append(data,
			wire.Data{Disk: i, Offset: uint64(at), Length: 131072, Payload: bytes.Clone(m[at : at+131072])},
			wire.Data{Disk: i, Offset: uint64(at + 131072), Length: 65536, Zero: true})
	}
	return data
}

// whole is all of the disks.
func (b *bench) whole() (data []wire.Data) {
	for i, m := range b.models {
		data = append(data, wire.Data{Disk: i, Length: uint64(len(m)), Payload: bytes.Clone(m)})
	}
	return data
}

func (b *bench) hello() wire.Hello {
	return wire.Hello{Schema: mirror.Schema, Guest: "web", UUID: uuid, Node: "north", Epoch: b.point.Epoch}
}

// round is what a source sends for a round of both disks.
func (b *bench) round(full bool, data []wire.Data) []any {
	b.point.Generation++
	w := wire.Round{Next: b.point, Disks: b.disks, Bytes: 1 << 20}
	c := wire.Commit{}
	for i := range b.disks {
		p := wire.Part{Disk: i, Full: full}
		if !full {
			p.Base = b.bases[i]
		}
		w.Parts = append(w.Parts, p)
		sum := sha256.New()
		for _, d := range data {
			if d.Disk == i {
				d.AddTo(sum)
			}
		}
		c.Sums = append(c.Sums, sum.Sum(nil))
	}
	all := []any{b.hello(), w}
	for _, d := range data {
		all = append(all, d)
	}
	return append(all, c)
}

func (b *bench) encode(messages []any) []byte {
	var raw bytes.Buffer
	for _, m := range messages {
		b.ok(wire.New(nil, &raw).Send(m))
	}
	return raw.Bytes()
}

func decode(raw []byte) (all []any) {
	for c := wire.New(bytes.NewReader(raw), nil); ; {
		m, err := c.Receive()
		if err != nil {
			return all
		}
		all = append(all, m)
	}
}

// serve has the engine answer a source that says all that, and returns the last answer.
func (b *bench) serve(ctx context.Context, messages ...any) (last any, err error) {
	return b.serveRaw(ctx, bytes.NewReader(b.encode(messages)))
}

func (b *bench) serveRaw(ctx context.Context, r io.Reader) (last any, err error) {
	var answers bytes.Buffer
	err = b.Serve(ctx, r, &answers)
	if all := decode(answers.Bytes()); len(all) > 0 {
		last = all[len(all)-1]
	}
	return last, err
}

// good makes a round that has to go well.
func (b *bench) good(full bool, data []wire.Data) wire.Done {
	b.Helper()
	last, err := b.serve(b.Context(), b.round(full, data)...)
	done, ok := last.(wire.Done)
	if err != nil || !ok || done.Point != b.point {
		b.Fatalf("round %s: %+v, %v", b.point, last, err)
	}
	b.bases = []mirror.Point{b.point, b.point}
	return done
}

// killed does something in a process that is killed at a step.
func (b *bench) killed(c child, stdin []byte) {
	b.Helper()
	self, err := os.Executable()
	b.ok(err)
	c.Dir = b.dir
	raw, err := json.Marshal(c)
	b.ok(err)
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), "REPLICA_CHILD="+string(raw))
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		b.Fatalf("it was not killed at %q: %v: %q", c.Kill, err, out)
	}
}

// holds fails unless the images have what the models have.
func (b *bench) holds(what string, image func(mirror.Disk) string, disks []mirror.Disk, models [][]byte) {
	b.Helper()
	for i, d := range disks {
		raw := filepath.Join(b.dir, "raw")
		_, err := run(b.Context(), "qemu-img", "convert", "-f", "qcow2", "-O", "raw", image(d), raw)
		b.ok(err)
		got, err := os.ReadFile(raw)
		b.ok(err)
		for at := range min(len(got), len(models[i])) {
			if got[at] != models[i][at] {
				b.Fatalf("%s: %s differs at %d", what, d.Target, at)
			}
		}
		if len(got) != len(models[i]) {
			b.Fatalf("%s: %s has %d bytes, want %d", what, d.Target, len(got), len(models[i]))
		}
	}
}

// is fails unless the replica is at a round, and has these contents and no other file.
func (b *bench) is(what string, generation uint64, models [][]byte) mirror.Manifest {
	b.Helper()
	m, err := b.Store.Load(uuid)
	if err != nil || m.Role != mirror.Replica || m.Generation != generation || m.Applying || len(m.Disks) != 2 {
		b.Fatalf("%s: the manifest is %+v, %v", what, m, err)
	}
	b.holds(what, mirror.Disk.Replica, m.Disks, models)
	b.files(what, filepath.Base(m.Disks[0].Replica()), filepath.Base(m.Disks[1].Replica()))
	return m
}

// files fails unless the images' directory has these and no others.
func (b *bench) files(what string, want ...string) {
	b.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dir, "images"))
	b.ok(err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		b.Errorf("%s: there are %q, want %q", what, got, want)
	}
}

func clone(models [][]byte) (all [][]byte) {
	for _, m := range models {
		all = append(all, bytes.Clone(m))
	}
	return all
}

// refused fails unless the source is told why, and the replica is as it was.
func (b *bench) refused(what string, want string, messages ...any) {
	b.Helper()
	before, err := b.Store.Load(uuid)
	last, serr := b.serve(b.Context(), messages...)
	why, ok := last.(wire.Refused)
	if serr == nil || !ok || !strings.Contains(why.Why, want) {
		b.Errorf("%s: %+v, %v, want %q", what, last, serr, want)
	}
	after, aerr := b.Store.Load(uuid)
	if x, y := fmt.Sprintf("%#v %v", before, err), fmt.Sprintf("%#v %v", after, aerr); x != y {
		b.Errorf("%s: the manifest was %s, and is %s", what, x, y)
	}
}
