package guest

import (
	"context"
	"fmt"
)

// diskSize is the size that a guest sees; its image grows to a few hundred KiB.
const diskSize = "16M"

// Runner runs a program with its arguments where the guests' disks are, such as
// on a node. Its error says what the program complained about.
type Runner func(ctx context.Context, program string, args ...string) error

// CreateDisk makes the empty qcow2 image of a guest at file, an absolute path as
// run sees it. It overwrites what is there: ask first.
func CreateDisk(ctx context.Context, run Runner, file string) error {
	if !pathForm.MatchString(file) {
		return fmt.Errorf("create guest disk %q: not an absolute path", file)
	}
	if err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", file, diskSize); err != nil {
		return fmt.Errorf("create guest disk %q: %w", file, err)
	}
	return nil
}
