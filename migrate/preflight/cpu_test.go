package preflight

import (
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"
)

func TestCompareHosts(t *testing.T) {
	cpu := func(vendor, model string, features ...string) *libvirtxml.CapsHostCPU {
		c := &libvirtxml.CapsHostCPU{Vendor: vendor, Model: model}
		for _, f := range features {
			c.FeatureFlags = append(c.FeatureFlags, libvirtxml.CapsHostCPUFeatureFlag{Name: f})
		}
		return c
	}
	for _, c := range []struct {
		source, target *libvirtxml.CapsHostCPU
		want           string
	}{
		{nil, cpu("Intel", "Skylake"), ""},
		{cpu("", ""), cpu("Intel", "Skylake"), ""},
		{cpu("Intel", "Skylake", "vmx"), cpu("Intel", "Skylake", "avx", "vmx"), ""},
		{cpu("Intel", "Skylake", "vmx", "avx"), cpu("Intel", "Skylake", "vmx"), `it lacks ["avx"] there`},
		{cpu("Intel", "Skylake"), cpu("AMD", "EPYC"), "it is Intel Skylake here, and AMD EPYC there"},
		{cpu("Intel", "Skylake"), cpu("Intel", "Haswell"), "Haswell there"},
	} {
		if got := compareHosts(c.source, c.target); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v and %+v: %q", c.source, c.target, got)
		}
	}
}
