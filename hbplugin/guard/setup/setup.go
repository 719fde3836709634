package setup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// ErrConfirm is the error of a device that may be written once somebody has said so.
var ErrConfirm = errors.New("nothing was written")

// MayInit is the error of a path that must not become the lease device of h. agreed says that the operator has
// confirmed it; ErrConfirm is the error where nothing else is missing.
func MayInit(path string, found device.State, h lease.Header, agreed bool) error {
	if err := h.Check(); err != nil {
		return err
	}
	wipe := shellword.Line("dd", "if=/dev/zero", "of="+path, fmt.Sprintf("bs=%d", lease.BlockSize),
		fmt.Sprintf("count=%d", lease.Size/lease.BlockSize))
	switch {
	case found.Foreign():
		return fmt.Errorf("%s holds other data: use another device; only if that data can be lost, type %s, and try again",
			path, wipe)
	case found.Damaged:
		return fmt.Errorf("%s is a lease device with a damaged header: stop vmferry-guard on all its nodes, type %s, and "+
			"try again", path, wipe)
	case found.Header != nil && found.Header.Cluster != h.Cluster:
		return fmt.Errorf("%s is the lease device of cluster %q (%s): use another device; only if that cluster is no more, "+
			"type %s, and try again", path, found.Header.Cluster, strings.Join(found.Header.Nodes, ", "), wipe)
	case len(found.Held) > 0:
		return fmt.Errorf("%s is in use by %s: stop the cluster manager and vmferry-guard there first; if that node is no "+
			"more, type %s, and try again", path, strings.Join(found.Held, ", "), wipe)
	case len(found.Running) > 0:
		return fmt.Errorf("%s: vmferry-guard runs on node %s: type systemctl stop vmferry-guard there first", path,
			strings.Join(found.Running, ", "))
	case !agreed:
		return fmt.Errorf("%w to %s: %s; to write it, add --yes", ErrConfirm, path, Holds(found))
	}
	return nil
}

// Holds says what is at a path that may become a lease device.
func Holds(found device.State) string {
	switch {
	case found.Missing:
		return fmt.Sprintf("a file of %d bytes will be made", lease.Size)
	case found.Header != nil:
		return "it is a lease device of this cluster already, whose nodes have surrendered"
	}
	return "it is empty"
}
