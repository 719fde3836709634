package reflector_test

import (
	"context"
	"fmt"
	"io"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
)

// The end of the context is no error: the reflector was asked to end.
func ExampleServe() {
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(reflector.Serve(ctx, reflector.Service{Listen: "127.0.0.1:0"}, log))
	// Output: <nil>
}
