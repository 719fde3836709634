package libvirt

import "testing"

func TestRef(t *testing.T) {
	const uuid = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"
	for _, c := range []struct{ name, uuid, wantUUID string }{
		{"vm1", uuid, uuid}, {"vm1", "", ""}, {" a b ", uuid, uuid}, {uuid, "", ""}, {uuid, uuid, uuid},
		{"a/b", "", ""}, {"", uuid, uuid}, {"vm1", "short", ""},
	} {
		if name, got := SplitRef(Ref(c.name, c.uuid)); name != c.name || got != c.wantUUID {
			t.Errorf("Ref(%q, %q) is read as %q, %q", c.name, c.uuid, name, got)
		}
	}
	if e := (&Error{Op: "status", URI: "u", Domain: Ref("vm1", uuid),
		Message: "m"}); e.Error() != `libvirt status "vm1" at "u": m` {
		t.Errorf("an error says %q", e)
	}
}
