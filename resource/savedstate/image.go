package savedstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/libvirt/saveimage"
	"github.com/vmferry/vmferry/migrate/safefile"
)

// readImage reads which guest's memory a file holds; why is a reason for which it can never be restored.
func readImage(f *os.File) (image saveimage.Image, size fs.FileInfo, why string, err error) {
	info, err := f.Stat()
	if err != nil {
		return image, nil, "", err
	}
	image, err = saveimage.Read(f)
	switch errno := unix.Errno(0); {
	case errors.As(err, &errno):
		return image, info, "", err
	case err == nil && info.Size() <= image.Size:
		err = saveimage.ErrPartial
	}
	if err != nil {
		return image, info, err.Error(), nil
	}
	return image, info, "", nil
}

// checkWhole returns an error for a file that libvirt has not written to its end.
func checkWhole(file string) error {
	f, err := safefile.Open(file, safefile.Anyone)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, _, why, err := readImage(f)
	if err == nil && why != "" {
		err = errors.New(why)
	}
	return err
}

// checkSame makes sure that a name is still that of an open file.
func checkSame(f *os.File, name string) error {
	was, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(name)
	if err == nil && !os.SameFile(was, now) {
		err = fmt.Errorf("%q was exchanged while it was looked at", name)
	}
	return err
}
