package main

import (
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestLogger(t *testing.T) {
	var out strings.Builder
	log := newLogger(&out, true)
	log.SetLevel(logrus.DebugLevel)
	log.Error("a")
	log.Warn("b")
	log.Info("c")
	log.Debug("d")
	log.WithField("guest", "v\x1b[2J\nlevel=error msg=forged\u202e").Info("of \x9b\u0085")
	newLogger(&out, false).WithField("node", "n").Warn("e")
	want := "<3>level=error msg=a\n<4>level=warning msg=b\n<6>level=info msg=c\n<7>level=debug msg=d\n" +
		`<6>level=info msg="of \x9b\u0085" guest="v\x1b[2J\nlevel=error msg=forged\u202e"` + "\n" +
		"level=warning msg=e node=n\n"
	if out.String() != want {
		t.Errorf("logged\n%swant\n%s", out.String(), want)
	}
}
