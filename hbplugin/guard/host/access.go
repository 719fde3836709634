package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/resource/command"
)

// Access is a program that revokes a node's access to the disks, or opens it again. Its exit code 0 is the proof: no
// write of the node arrives any more. Its arguments may hold {node} and {generation}.
type Access []string

// Run runs it for a node, until ctx ends. The program is killed then.
func (a Access) Run(ctx context.Context, run command.Runner, node string, generation uint64) error {
	values := strings.NewReplacer("{node}", node, "{generation}", strconv.FormatUint(generation, 10))
	args := make([]string, 0, len(a)-1)
	for _, arg := range a[1:] {
		args = append(args, values.Replace(arg))
	}
	if _, err := run(ctx, a[0], args...); err != nil {
		return fmt.Errorf("%s for node %s: %w", a[0], node, err)
	}
	return nil
}
