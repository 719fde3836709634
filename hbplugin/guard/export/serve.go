package export

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
)

// Program is the NBD server.
const Program = "qemu-storage-daemon"

// object is one value on the NBD server's command line, as JSON: paths need no quoting there.
type object map[string]any

// arguments are those of the NBD server of a node. stat is os.Stat.
func (c Config) arguments(node, pidFile string, stat func(string) (fs.FileInfo, error)) ([]string, error) {
	at := c.Nodes[node]
	listen := object{"type": "inet", "host": at.Addr().String(), "port": strconv.Itoa(int(at.Port()))}
	args := []string{Program, "--nbd-server", text(object{"addr": listen, "max-connections": 0})}
	for i, disk := range slices.Sorted(maps.Keys(c.Disks)) {
		path := c.Disks[disk]
		info, err := stat(path)
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", disk, err)
		}
		driver := "file"
		if info.Mode()&fs.ModeDevice != 0 {
			driver = "host_device"
		}
		id := fmt.Sprintf("disk%d", i)
		args = append(args,
			// Every node's process has the disk open, so QEMU's own lock is off. With aio=threads and cache.direct a
			// process that has ended has no write under way.
			"--blockdev", text(object{"driver": "raw", "node-name": id, "discard": "unmap", "file": object{
				"driver": driver, "filename": path, "locking": "off", "aio": "threads", "discard": "unmap",
				"cache": object{"direct": true, "no-flush": false}}}),
			"--export", text(object{"type": "nbd", "id": "export" + strconv.Itoa(i), "node-name": id, "name": disk,
				"writable": true}))
	}
	return append(args, "--pidfile", pidFile, "--daemonize"), nil
}

// text is o as JSON, which has no value that could not be written.
func text(o object) string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Arguments are those of the NBD server of a node, its name first. They fail where a disk is not there.
func (b Box) Arguments(node string) ([]string, error) {
	return b.Config.arguments(node, b.pidFile(node), os.Stat)
}
