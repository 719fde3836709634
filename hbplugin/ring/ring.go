package ring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/safefile"
)

// The managers' configurations.
const (
	CorosyncConf = "/etc/corosync/corosync.conf"
	haCf         = "/etc/ha.d/ha.cf"
)

const (
	// maxSize is the largest configuration that is read, in bytes, and maxHosts the most names that are resolved.
	maxSize, maxHosts = 1 << 20, 256
	// resolveTime bounds the question for all names together.
	resolveTime = time.Second
	// fresh is how long an answer is used.
	fresh = time.Minute
)

// Reader reads the addresses. Its zero value reads this node's configuration. It may be used by several goroutines at
// once.
type Reader struct {
	// Root is put before the paths of the files; "" for none.
	Root string
	// Resolve gives the addresses of a host name; nil asks the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Also gives more host names of a node, which need not have an address. Nil for none.
	Also func(node string) []string

	mu    sync.Mutex
	until time.Time // when addrs and err are out of date
	addrs []netip.Addr
	err   error
}

// Addresses are those of all nodes, this one among them, each once. A file that is not there has none. The error says
// what cannot be read or resolved; the addresses beside it are the others. It takes a second at most, and an answer
// is used for a minute.
func (r *Reader) Addresses(ctx context.Context) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.After(r.until) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resolveTime) // the answer is for others too
		defer cancel()
		r.addrs, r.err = r.read(ctx)
		r.until = now.Add(fresh)
	}
	return slices.Clone(r.addrs), r.err
}

func (r *Reader) read(ctx context.Context) ([]netip.Addr, error) {
	var all hosts
	var errs []error
	for path, parse := range map[string]func(string) hosts{CorosyncConf: parseCorosync, haCf: parseHeartbeat} {
		text, err := safefile.Read(filepath.Join(r.Root, path), maxSize, safefile.Anyone)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("find the addresses of the cluster's nodes: %w", err))
		}
		found := parse(string(text))
		all.links, all.nodes = append(all.links, found.links...), append(all.nodes, found.nodes...)
	}
	if r.Also != nil {
		for _, node := range slices.Clone(all.nodes) {
			all.nodes = append(all.nodes, r.Also(node)...)
		}
	}
	found, err := r.resolve(ctx, unique(all.links))
	errs = append(errs, err)
	named, _ := r.resolve(ctx, unique(all.nodes)) // a node's name is often no host's
	found = append(found, named...)
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found), errors.Join(errs...)
}

func unique(names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxHosts)]
}

// resolve asks for all names at once.
func (r *Reader) resolve(ctx context.Context, names []string) ([]netip.Addr, error) {
	ask := r.Resolve
	if ask == nil {
		ask = lookup
	}
	addrs, errs := make([][]netip.Addr, len(names)), make([]error, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
			addrs[i] = []netip.Addr{a}
			continue
		}
		group.Go(func() {
			if addrs[i], errs[i] = ask(ctx, name); errs[i] != nil {
				errs[i] = fmt.Errorf("find the address of the cluster's host %q (write it to /etc/hosts): %w", name,
					errs[i])
			}
		})
	}
	group.Wait()
	all := slices.Concat(addrs...)
	for i := range all {
		all[i] = all[i].Unmap().WithZone("")
	}
	return all, errors.Join(errs...)
}

// lookup asks /etc/hosts and DNS. Go's own resolver ends with ctx.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
}
