package libvirt

import (
	"errors"
	"fmt"
	"testing"
)

func TestUnimplemented(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("other"), false},
		{&Error{Code: 3, Kind: ErrUnsupported}, true},
		{fmt.Errorf("asked: %w", &Error{Code: 3}), true},
		{&Error{Code: 84, Kind: ErrUnsupported}, false},
	} {
		if got := Unimplemented(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
