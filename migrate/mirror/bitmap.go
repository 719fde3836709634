package mirror

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// RemoveBitmaps removes bitmaps of the mirror's from an image; goes says which, and isBroken of one that QEMU could not
// save. run runs a program. It fails where a guest uses the image.
func RemoveBitmaps(ctx context.Context, run func(ctx context.Context, name string, args ...string) (string, error),
	path string, goes func(p Point, isBroken bool) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // where storage does not respond
	defer cancel()
	var info struct {
		Specific struct {
			Data struct {
				Bitmaps []struct {
					Name  string
					Flags []string
				}
			}
		} `json:"format-specific"`
	}
	out, err := run(ctx, "qemu-img", "info", "-f", "qcow2", "--output=json", path)
	if err == nil {
		err = json.Unmarshal([]byte(out), &info)
	}
	for _, b := range info.Specific.Data.Bitmaps {
		if p, ours := ParsePoint(b.Name); ours && err == nil && goes(p, slices.Contains(b.Flags, "in-use")) {
			_, err = run(ctx, "qemu-img", "bitmap", "--remove", "-f", "qcow2", path, b.Name)
		}
	}
	return err
}
