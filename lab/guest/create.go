package guest

import (
	"context"
	"fmt"
)

// diskSize is the size that a guest sees; its image grows to a few hundred KiB.
const diskSize = "16M"

// databaseSize is the size of a disk with a database on it, which takes 35 MiB at first.
const databaseSize = "96M"

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

// CreateDatabaseDisk is [CreateDisk] for a guest with a database: on the disk there is a file system with the files that
// the server makes at its first start, which takes an emulated processor half a minute. It runs mariadbd(8) and mke2fs(8)
// too.
func CreateDatabaseDisk(ctx context.Context, run Runner, file string) error {
	if !pathForm.MatchString(file) {
		return fmt.Errorf("create guest disk %q: not an absolute path", file)
	}
	raw, folder := file+".raw", file+".files"
	for _, step := range [][]string{
		{"mkdir", "--parents", folder + "/db"},
		{"mariadbd", "--no-defaults", "--bootstrap", "--user=root", "--datadir=" + folder + "/db", "--lc-messages-dir=" + folder,
			"--innodb-log-file-size=8M", "--innodb-undo-tablespaces=0"},
		{"truncate", "--size=" + databaseSize, raw},
		{"mke2fs", "-q", "-F", "-t", "ext4", "-d", folder, raw},
		{"qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, file},
		{"rm", "--recursive", "--force", raw, folder},
	} {
		if err := run(ctx, step[0], step[1:]...); err != nil {
			return fmt.Errorf("create guest disk %q: %w", file, err)
		}
	}
	return nil
}
