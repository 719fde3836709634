package route

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/sirupsen/logrus"
)

// Each node's address is looked up once, and a node without one is reached by its name.
func TestTable(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	lookups := map[string]int{}
	table := NewTable(Config{Hypervisor: "qemu:///system", Transport: "tls"},
		func(_ context.Context, node string) (string, error) {
			lookups[node]++
			switch node {
			case "n2":
				return "192.0.2.2", nil
			case "n3":
				return "", errNoAddress
			}
			return "", errors.New("not connected")
		}, log)
	for range 2 {
		for node, want := range map[string]string{
			"n2": "qemu+tls://192.0.2.2/system", "n3": "qemu+tls://n3/system", "n4": "qemu+tls://n4/system",
		} {
			if r, err := table.To(t.Context(), node); err != nil || r.URI != want || r.Node != node {
				t.Errorf("%s is reached by %+v, %v, want %s", node, r, err, want)
			}
		}
	}
	for node, n := range lookups {
		if n != 1 {
			t.Errorf("the address of %s was looked up %d times", node, n)
		}
	}
	if r, err := table.To(t.Context(), "-x"); err == nil {
		t.Errorf("a name that is an option: %+v", r)
	}
}

func TestWithSuffix(t *testing.T) {
	for host, want := range map[string]string{
		"n1": "n1-mig", "n1.example.org": "n1-mig.example.org", "192.0.2.1": "192.0.2.1",
		"[2001:db8::1]": "[2001:db8::1]", ".n1": ".n1",
	} {
		if got := WithSuffix(host, "-mig"); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}
