package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest/disk"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/lab/torture"
)

// The bystander of a node: it sleeps for longer than any lab, and its argument is nobody else's.
const (
	bystanderUnit = "lab-bystander"
	bystanderTime = "98765432"
)

// A disk that is larger than this is the machine's, which must not be filled.
const ownDiskMost = 8 << 30

// fillFile is what takes the room, at the top of the node's own file system.
const fillFile = "/var/lib/lab-fill"

// Bystanders is as in [torture.World].
func (w *World) Bystanders(context.Context) (map[string]torture.Process, error) {
	all := map[string]torture.Process{}
	for _, node := range w.cluster().Nodes {
		some, err := processes("/proc", node)
		if err != nil {
			return nil, err
		}
		for _, p := range some {
			if p.program() == "sleep" && p.hasArg(bystanderTime) {
				all[node] = p.Process
			}
		}
	}
	return all, nil
}

// Renew is as in [torture.World].
func (w *World) Renew(ctx context.Context) error {
	lives, err := w.Bystanders(ctx)
	if err != nil {
		return err
	}
	for _, node := range w.cluster().Nodes {
		if _, ok := lives[node]; ok {
			continue
		}
		if _, err := w.cluster().Run(ctx, node, "systemd-run", "--quiet", "--collect", "--unit="+bystanderUnit, "sleep",
			bystanderTime); err != nil {
			return err
		}
	}
	w.mu.Lock()
	filled := slices.Collect(maps.Keys(w.filled))
	w.mu.Unlock()
	for _, node := range filled {
		if err := w.Free(ctx, node); err != nil {
			return err
		}
	}
	for _, g := range w.Runner.Guests {
		if err := w.anywhere(ctx, "crm_resource", "--cleanup", "--resource="+g.Name); err != nil {
			return err
		}
	}
	return nil
}

// Fill is as in [torture.World].
func (w *World) Fill(ctx context.Context, node string) error {
	out, err := w.cluster().Run(ctx, node, "df", "--block-size=1", "--output=size,avail", "/var/lib")
	if err != nil {
		return err
	}
	size, free, err := parseRoom(out)
	if err != nil {
		return err
	}
	if size > ownDiskMost {
		return fmt.Errorf("fill the disk of %s: it is this machine's: %w", node, torture.ErrUnable)
	}
	w.mu.Lock()
	if w.filled == nil {
		w.filled = map[string]bool{}
	}
	w.filled[node] = true
	w.mu.Unlock()
	_, err = w.cluster().Run(ctx, node, "fallocate", "--length="+strconv.FormatInt(free, 10), fillFile)
	return err
}

// parseRoom reads the last line of df(1): two numbers of bytes.
func parseRoom(out string) (size, free int64, err error) {
	out = strings.TrimSpace(out)
	fields := strings.Fields(out[strings.LastIndexByte(out, '\n')+1:])
	if len(fields) == 2 {
		size, err = strconv.ParseInt(fields[0], 10, 64)
		if err == nil {
			free, err = strconv.ParseInt(fields[1], 10, 64)
		}
		if err == nil {
			return size, free, nil
		}
	}
	return 0, 0, fmt.Errorf("read the room on a disk from %q", out)
}

// Free is as in [torture.World].
func (w *World) Free(ctx context.Context, node string) error {
	_, err := w.cluster().Run(ctx, node, "rm", "--force", fillFile)
	if err == nil {
		w.mu.Lock()
		delete(w.filled, node)
		w.mu.Unlock()
	}
	return err
}

// Evidence is as in [torture.World].
func (w *World) Evidence(ctx context.Context, since time.Time, to io.Writer) error {
	for _, node := range w.cluster().Nodes {
		for _, command := range [][]string{
			{"crm_mon", "--one-shot", "--inactive", "--failcounts"},
			{"vmferry", "guard", "status"},
			{"journalctl", "--no-pager", "--output=short-precise", "--since=@" + strconv.FormatInt(since.Unix()-5, 10)},
		} {
			limit, cancel := context.WithTimeout(ctx, 20*time.Second)
			out, err := w.cluster().Run(limit, node, command[0], command[1:]...)
			cancel()
			if err != nil {
				out += err.Error() + "\n"
			}
			if _, err := fmt.Fprintf(to, "%s: %s\n%s\n", node, strings.Join(command, " "), out); err != nil {
				return err
			}
		}
	}
	return nil
}

// Mend undoes whatever a fault may have left, and boots all nodes again.
func (w *World) Mend(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*comeback, errors.New("the nodes did not come back"))
	defer cancel()
	for _, node := range w.cluster().Nodes {
		if err := errors.Join(w.Wake(ctx, node), w.ask(ctx, supervisor.OpKill, node)); err != nil {
			return err
		}
	}
	for _, node := range w.cluster().Nodes {
		if err := w.ask(ctx, supervisor.OpOn, node); err != nil {
			return err
		}
	}
	if err := w.cluster().AwaitOnline(ctx, func(string) {}); err != nil {
		return err
	}
	if err := w.Renew(ctx); err != nil {
		return err
	}
	return cluster.Await(ctx, "the cluster to settle", func(ctx context.Context) (bool, error) {
		err := w.Settled(ctx)
		return err == nil, err
	})
}

// End is as in [torture.World].
func (w *World) End(ctx context.Context) (map[string]ledger.Scan, error) {
	if err := w.Runner.Remove(ctx, w.cluster().Nodes[0]); err != nil {
		return nil, err
	}
	all := map[string]ledger.Scan{}
	for _, g := range w.Runner.Guests {
		s, err := scan(w.Image(g.Name))
		if err != nil {
			return nil, err
		}
		all[g.Name] = s
	}
	return all, nil
}

// scan reads the ledger on a raw or qcow2 image.
func scan(path string) (ledger.Scan, error) {
	f, err := os.Open(path)
	if err != nil {
		return ledger.Scan{}, err
	}
	defer f.Close()
	view, err := disk.Guest(f)
	if err != nil {
		return ledger.Scan{}, fmt.Errorf("read %s: %w", path, err)
	}
	return ledger.Read(view, 1)
}
