package guarded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/vmferry/vmferry/lab/node"
)

// The guests' disks, as every node's libvirt names them: NBD exports of a machine that each node reaches at another
// address, by its /etc/hosts.
const (
	StorageHost = "storage"
	storagePort = 10809
	disks       = 6
	diskSize    = 16 << 20
)

// StorageAddress is where a node has its exports.
func StorageAddress(n node.Spec) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, 0, byte(240 + n.ID)})
}

// DiskURI names the disk of a guest.
func DiskURI(guest string) string {
	return fmt.Sprintf("nbd://%s:%d/%s", StorageHost, storagePort, guest)
}

// Storage is a machine that has the guests' disks, and exports them to each node by a process of its own: the end of
// that process is the end of the node's access.
type Storage struct {
	Image string // the tree that has qemu-storage-daemon
	Dir   string // of the disks
	Nodes []node.Spec

	mu      sync.Mutex
	exports map[string]*export
}

// export is a node's access.
type export struct {
	generation uint64
	command    *exec.Cmd
	ended      chan struct{}
}

// Prepare makes the disks that are missing, without content.
func (s *Storage) Prepare() error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	for i := range disks {
		f, err := os.OpenFile(s.disk(i), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func name(i int) string { return "vm" + strconv.Itoa(i+1) }

func (s *Storage) disk(i int) string { return filepath.Join(s.Dir, name(i)+".raw") }

// Admit opens the access of a node in a generation of its lease, and returns once it can be used.
func (s *Storage) Admit(of string, generation uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.exports[of]; e != nil && !e.isOver() {
		e.generation = max(e.generation, generation)
		return nil
	}
	for _, n := range s.Nodes {
		if n.Name == of {
			e, err := s.start(StorageAddress(n).String())
			if err != nil {
				return err
			}
			e.generation = generation
			if s.exports == nil {
				s.exports = map[string]*export{}
			}
			s.exports[of] = e
			return e.await(StorageAddress(n).String())
		}
	}
	return fmt.Errorf("the lab has no node %q", of)
}

// start runs the image's program with the image's libraries: the lab's machine may have others.
func (s *Storage) start(address string) (*export, error) {
	lib := filepath.Join(s.Image, "usr/lib/x86_64-linux-gnu")
	args := []string{"--library-path", lib, filepath.Join(s.Image, "usr/bin/qemu-storage-daemon"),
		"--nbd-server", fmt.Sprintf("addr.type=inet,addr.host=%s,addr.port=%d,max-connections=0", address, storagePort)}
	for i := range disks {
		args = append(args,
			"--blockdev", fmt.Sprintf("driver=file,node-name=%s,filename=%s,locking=off,cache.direct=on", name(i), s.disk(i)),
			"--export", fmt.Sprintf("type=nbd,id=%[1]s,node-name=%[1]s,name=%[1]s,writable=on", name(i)))
	}
	e := &export{command: exec.Command(filepath.Join(s.Image, "lib64/ld-linux-x86-64.so.2"), args...), ended: make(chan struct{})}
	e.command.Stdout, e.command.Stderr = os.Stderr, os.Stderr
	if err := e.command.Start(); err != nil {
		return nil, fmt.Errorf("export the disks: %w", err)
	}
	go func() {
		_ = e.command.Wait()
		close(e.ended)
	}()
	return e, nil
}

func (e *export) isOver() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// exportTime bounds the start and the end of a process that exports disks.
const exportTime = 5 * time.Second

// await waits until the process listens.
func (e *export) await(address string) error {
	at := net.JoinHostPort(address, strconv.Itoa(storagePort))
	for end := time.Now().Add(exportTime); ; {
		c, err := net.DialTimeout("tcp", at, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("export the disks: %w", err)
		}
		select {
		case <-e.ended:
			return errors.New("export the disks: qemu-storage-daemon ended; see the supervisor's log")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Revoke ends the access that a node has in a generation of its lease, and returns nil with the proof: its process has
// ended, and no write of the node is under way. The access of a later generation is left alone.
func (s *Storage) Revoke(of string, generation uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exports[of]
	if e == nil || e.isOver() || e.generation > generation {
		return nil
	}
	_ = e.command.Process.Kill() // it may have ended meanwhile
	select {
	case <-e.ended:
		return nil
	case <-time.After(exportTime):
		return fmt.Errorf("the exports of %s do not end", of)
	}
}
