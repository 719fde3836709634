package lab_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/hostile"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/pki/pkitest"
)

// A guest whose memory and disk hold texts that a listener knows: its name is on its kernel's command line, and its
// disk, a file on its node, is full of the other one.
const (
	secretGuest  = "secret95"
	secretDisk   = localDir + "/" + secretGuest + ".qcow2"
	memorySecret = "vmferry.name=" + secretGuest
	diskSecret   = "what-the-disk-of-" + secretGuest + "-holds"
	pkiDir       = "/etc/pki/qemu"
)

// confided is the guest, under Pacemaker.
type confided struct{ pair }

// testTLS moves a guest with its disk in the clear and under TLS, with somebody listening on the link, and has a node
// lose its certificates.
func testTLS(t *testing.T, b bench) {
	c := &confided{pair{t, b}}
	c.prepare()
	defer c.giveBack()
	for _, part := range []struct {
		name string
		do   func()
	}{
		{"in the clear", func() { c.moves(target, true) }},
		{"under TLS", func() { c.require(); c.moves(source, false) }},
		{"a target that wants TLS", c.forced},
		{"a node without certificates", c.withoutCertificates},
	} {
		ok := t.Run(part.name, func(t *testing.T) { c.t = t; part.do() })
		c.t = t
		if !ok {
			return
		}
	}
}

// script runs a line of bash on a node.
func (c *confided) script(node, line string) string {
	c.t.Helper()
	return strings.TrimSpace(c.on(node, "bash", "-euc", line))
}

func (c *confided) prepare() {
	c.t.Helper()
	c.certify()
	c.both("bash", "-euc", "mkdir --parents "+localDir+"; virsh -q pool-define-as guests dir --target "+localDir+
		"; virsh -q pool-start guests")
	c.script(source, "cd "+localDir+"; (head -c 8192 /dev/zero; yes "+diskSecret+" | head -c 16769024) > raw"+
		"; qemu-img convert -f raw -O qcow2 raw "+secretDisk+"; rm raw")
	// Who may read an image may lock it, flock(2): that is no move under way.
	c.on(source, "systemd-run", "--collect", "--quiet", "--unit=lab-lock", "--uid=nobody", "flock", "--exclusive",
		secretDisk, "sleep", "infinity")
	spec := scenario.Kind{Name: "secret", First: 95, MemoryMiB: guest.MinMemoryMiB}.Spec(0)
	spec.Disk = secretDisk
	text, err := guest.Domain(spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.b.dir, "shared", "guests", secretGuest+".xml"), []byte(text), 0o644)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	primitive := strings.NewReplacer("vm1", secretGuest, "</instance_attributes>",
		`<nvpair id="secret-disks" name="disks" value="auto"/></instance_attributes>`).Replace(guestPrimitive)
	c.on(source, "cibadmin", "--create", "--scope=resources", "--xml-text="+primitive)
	c.on(source, "cibadmin", "--create", "--scope=constraints",
		`--xml-text=<rsc_location id="secret-here" rsc="`+secretGuest+`" node="`+source+`" score="100"/>`)
	await(c.t, "the guest to boot", 90*time.Second, func() bool {
		out, _ := c.b.try(c.t, "shell", source, "virsh", "--connect", "qemu:///system", "dommemstat", secretGuest)
		return rss(out) > 60<<10
	})
}

// certify gives each node a certificate of one authority, as QEMU wants it.
func (c *confided) certify() {
	c.t.Helper()
	now := time.Now()
	authority := pkitest.New(c.t, now)
	for _, node := range lab.Nodes {
		files := authority.Issue(c.t, node.Name, nil, []net.IP{node.Address.AsSlice()}, now, now.AddDate(1, 0, 0))
		dir := filepath.Join(c.b.dir, "shared", "pki", node.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			c.t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				c.t.Fatal(err)
			}
		}
		c.script(node.Name, "mkdir --parents "+pkiDir+"; cp /shared/pki/"+node.Name+"/* "+pkiDir+
			"; chmod 600 "+pkiDir+"/*-key.pem")
	}
}

func (c *confided) giveBack() {
	_, _ = c.b.try(c.t, "shell", source, "systemctl", "stop", "lab-lock.service")
	c.on(target, "crm_resource", "--wait", "--timeout=60")
	c.on(target, "crm_resource", "--resource="+secretGuest, "--meta", "--set-parameter=target-role",
		"--parameter-value=Stopped")
	c.on(target, "crm_resource", "--wait", "--timeout=90")
	for _, path := range []string{"//rsc_location[@rsc='%s']", "//primitive[@id='%s']"} {
		c.on(target, "cibadmin", "--delete-all", "--force", "--xpath="+fmt.Sprintf(path, secretGuest))
	}
	c.on(target, "crm_resource", "--wait", "--timeout=60")
	c.both("bash", "-c", "virsh -q pool-destroy guests; virsh -q pool-undefine guests; rm -rf "+localDir+" "+pkiDir)
}

// require has the guest's memory and disks travel under TLS, or not at all.
func (c *confided) require() {
	c.t.Helper()
	c.on(source, "crm_resource", "--resource="+secretGuest, "--set-parameter=migration_tls", "--parameter-value=yes")
	c.on(source, "crm_resource", "--wait", "--timeout=60")
}

// moves has Pacemaker move the guest live, and wants a listener on the link to have read its memory and its disk, or
// nothing of them.
func (c *confided) moves(node string, readable bool) {
	c.t.Helper()
	const report = "/run/lab-tap.json"
	c.script(node, "ln --symbolic --force /usr/sbin/fence_lab "+hostileFile+"; rm --force "+report)
	c.on(node, "systemd-run", "--collect", "--quiet", "--unit=lab-tap", "--property=Type=notify",
		"--property=StandardOutput=truncate:"+report, hostileFile, "tap", "--link", "host0",
		"--ports", strings.ReplaceAll(ports, ":", "-"), memorySecret, diskSecret)
	begun := time.Now()
	c.on(node, "crm_resource", "--resource="+secretGuest, "--move", "--node="+node, "--lifetime=PT1H")
	await(c.t, "the guest to be on "+node+", moved live", 60*time.Second, func() bool {
		out, _ := c.b.try(c.t, "shell", node, "virsh", "--connect", "qemu:///system", "domstate", "--reason", secretGuest)
		return strings.Contains(out, "running (migrated)")
	})
	c.on(node, "crm_resource", "--wait", "--timeout=60")
	c.on(node, "systemctl", "stop", "lab-tap.service")
	var seen hostile.Capture
	if text := c.on(node, "cat", report); json.Unmarshal([]byte(text), &seen) != nil {
		c.t.Fatalf("the listener said %q", text)
	}
	c.t.Logf("moved to %s in %.1f s; the listener saw %+v", node, time.Since(begun).Seconds(), seen)
	const least = 24 << 20 // of memory that is in use, and of the disk
	if seen.Missed != 0 || seen.Bytes < least {
		c.t.Errorf("the listener missed %d packets, and saw %d bytes, want %d", seen.Missed, seen.Bytes, least)
	}
	for _, secret := range []string{memorySecret, diskSecret} {
		if (seen.Seen[secret] > 0) != readable {
			c.t.Errorf("%q was read %d times; to be read: %v", secret, seen.Seen[secret], readable)
		}
	}
	c.reported(node, !readable)
	checkNoFailures(c.t, c.on(node, "crm_mon", "--one-shot", "--inactive", "--failcounts"))
}

// reported wants vmferry check to warn of a guest that travels in the clear, and of no other, and the record of the move to
// the node to say how it was.
func (c *confided) reported(node string, encrypted bool) {
	c.t.Helper()
	check, _ := c.b.try(c.t, "shell", node, "vmferry", "check") // it has other warnings
	if strings.Contains(check, "travel unencrypted") == encrypted {
		c.t.Errorf("encrypted: %v, and vmferry check says:\n%s", encrypted, check)
	}
	record := c.script(other(node), "tail -n 1 /var/lib/vmferry/migrations.jsonl")
	if strings.Contains(record, `"encrypted":true`) != encrypted {
		c.t.Errorf("encrypted: %v, and on record is %s", encrypted, record)
	}
}

// withoutCertificates takes the target's away: the guest cannot be moved live any more, and that is reported before anything
// is done to it.
func (c *confided) withoutCertificates() {
	c.script(target, "mv "+pkiDir+" "+pkiDir+".away")
	defer c.script(target, "mv "+pkiDir+".away "+pkiDir)
	out, code := c.b.try(c.t, "shell", source, "vmferry", "plan", "--no-measure", "--bandwidth", "100")
	c.t.Logf("vmferry plan: exit code %d\n%s", code, out)
	if code != 1 || !strings.Contains(out, "TLS") || !strings.Contains(out, pkiDir) {
		c.t.Errorf("vmferry plan: exit code %d, and nothing is said of the certificates:\n%s", code, out)
	}
	c.refused("certificate|"+pkiDir, "migration_tls=yes")
}

// forced has the target's libvirt refuse what is not encrypted: the guest stays, and the message names the
// parameter.
func (c *confided) forced() {
	const config = "/etc/libvirt/qemu.conf"
	c.script(target, "echo 'migrate_tls_force = 1' >> "+config+"; systemctl restart libvirtd.service")
	defer c.script(target, "sed -i /migrate_tls_force/d "+config+"; systemctl restart libvirtd.service")
	c.refused("migration_tls")
}

// refused wants the agent to refuse a move to the target with these words, and the guest to stay.
func (c *confided) refused(words string, params ...string) {
	c.t.Helper()
	before := c.script(source, "virsh --connect qemu:///system domid "+secretGuest)
	params = append([]string{fmt.Sprintf("config=/shared/guests/%s.xml", secretGuest), "disks=auto"}, params...)
	out, code := killer{c.t, c.b}.call(source, "migrate_to", params...)
	c.t.Logf("migrate_to: exit code %d %s", code, strings.TrimSpace(out))
	if code == 0 {
		c.t.Error("the guest was moved")
	}
	checkReason(c.t, out, words)
	if after := c.script(source, "virsh --connect qemu:///system domid "+secretGuest); after != before {
		c.t.Errorf("the guest was domain %s and is %s", before, after)
	}
}
