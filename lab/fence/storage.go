package fence

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/vmferry/vmferry/lab/supervisor"
)

// StorageName is the name of the program by which a node's guard revokes and opens access to the guests' disks.
const StorageName = "storage_lab"

// Storage carries out one call, "revoke NODE GENERATION" or "admit NODE GENERATION", and returns the exit code. dir is
// the node's folder of the lab.
func Storage(ctx context.Context, dir string, args []string, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := fmt.Errorf("usage: %s revoke|admit NODE GENERATION", StorageName)
	if len(args) == 3 {
		var generation uint64
		if generation, err = strconv.ParseUint(args[2], 10, 64); err == nil {
			_, err = supervisor.Ask(ctx, powerSwitch(dir),
				supervisor.Request{Op: supervisor.Op(args[0]), Node: args[1], Generation: generation})
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", StorageName, err)
		return exitBad
	}
	return exitOK
}
