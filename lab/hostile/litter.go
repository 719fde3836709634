package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// litter makes files that are not what their names say:
//
//	litter KIND=PATH…
//
// The kinds are fifo, endless (a symbolic link to /dev/zero), empty, folder, and text (a symbolic link to a file that
// the program's user owns). What is there already is an error. The files stay when the program ends.
func litter(_ context.Context, args []string, _ io.Writer, ready func()) error {
	if len(args) == 0 {
		return errors.New("litter: name what is to be made")
	}
	for _, arg := range args {
		if err := drop(arg); err != nil {
			return fmt.Errorf("litter: %w", err)
		}
	}
	ready()
	return nil
}

func drop(arg string) error {
	kind, path, ok := strings.Cut(arg, "=")
	if !ok {
		return fmt.Errorf("%q is not KIND=PATH", arg)
	}
	switch kind {
	case "fifo":
		return unix.Mkfifo(path, 0o666)
	case "endless":
		return os.Symlink("/dev/zero", path)
	case "empty":
		return create(path, nil)
	case "folder":
		return os.Mkdir(path, 0o777)
	case "text":
		own := path + ".own"
		return errors.Join(create(own, []byte("LibvirtQemudSave of another user\n")), os.Symlink(own, path))
	}
	return fmt.Errorf("unknown kind %q", kind)
}

func create(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
