package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/resource/command"
)

// Access is a program that revokes a node's access to the disks, or opens it again. Its exit code 0 is the proof: no
// write of the node arrives any more. Its arguments may hold {node}, {id} and {generation}.
type Access []string

// Subject is the node that Access is about.
type Subject struct {
	Node       string
	ID         int    // its number on the lease device, from 1
	Generation uint64 // of its lease
}

// Run runs it for a node, until ctx ends. The program is killed then. The error has the program's last words.
func (a Access) Run(ctx context.Context, run command.Runner, s Subject) error {
	values := strings.NewReplacer("{node}", s.Node, "{id}", strconv.Itoa(s.ID),
		"{generation}", strconv.FormatUint(s.Generation, 10))
	args := make([]string, 0, len(a)-1)
	for _, arg := range a[1:] {
		args = append(args, values.Replace(arg))
	}
	if _, err := run.Explained(ctx, a[0], args...); err != nil {
		return fmt.Errorf("%s for node %s: %w", a[0], s.Node, err)
	}
	return nil
}
