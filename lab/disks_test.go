package lab_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// The guest's disk of its own on each node, and the second address of the target, over which
// disks and memory go where a test wants to cut them off from the rest.
const (
	localDir  = "/srv/guests"
	localDisk = localDir + "/vm1.qcow2"
	dataWay   = "10.77.0.22"
)

// local is a guest whose disk is a file on its node, under Pacemaker. The disk is full: of what the
// guest does not write there is a checksum.
type local struct {
	pair
	sum string
}

// testDisks moves a guest that writes to a disk of its node all the time. What it wrote is
// never lost, and no old copy of it is ever started. Of the two accidents that take long, each share has one.
func testDisks(t *testing.T, b bench) {
	l := &local{pair: pair{t, b}}
	l.prepare()
	defer l.giveBack()
	for _, part := range []struct {
		name string
		due  bool
		do   func()
	}{
		{"there and back", true, l.thereAndBack},
		{"the link is cut in the middle", shareOf(t).hasOf(0, 2), l.linkCut},
		{"the target is full", true, l.targetFull},
		{"the node with the truth crashes", shareOf(t).hasOf(1, 2), l.truthCrashes},
	} {
		if !part.due {
			continue
		}
		if !t.Run(part.name, func(t *testing.T) { l.t = t; part.do() }) {
			return
		}
		l.t = t
	}
	l.verify()
}

// script runs a line of bash on a node.
func (l *local) script(node, line string) string {
	l.t.Helper()
	return strings.TrimSpace(l.on(node, "bash", "-euc", line))
}

func (l *local) prepare() {
	l.t.Helper()
	l.both("bash", "-euc", "mkdir "+localDir+"; virsh -q pool-define-as guests dir --target "+localDir+"; virsh -q pool-autostart guests; virsh -q pool-start guests")
	l.sum = l.script(source, "cd "+localDir+"; (head -c 8192 /dev/zero; head -c 67100672 /dev/urandom) > raw; qemu-img convert -f raw -O qcow2 raw vm1.qcow2; tail -c +8193 raw | sha256sum; rm raw")
	l.script(source, "sed s#/shared/guests/vm1.qcow2#"+localDisk+"# /shared/guests/vm1.xml > /shared/guests/local.xml")
	l.script(target, "ip address add "+dataWay+"/24 dev br0")
	xml := strings.NewReplacer("vm1.xml", "local.xml", "</instance_attributes>",
		`<nvpair id="vm1-disks" name="disks" value="copy"/></instance_attributes>`).Replace(guestPrimitive)
	l.on(target, "cibadmin", "--create", "--scope=resources", "--xml-text="+xml)
	l.on(target, "cibadmin", "--create", "--scope=constraints",
		`--xml-text=<rsc_location id="vm1-here" rsc="vm1" node="`+source+`" score="100"/>`)
	l.runsOn(source)
}

func (l *local) giveBack() {
	removeGuest(l.t, l.b)
	l.both("bash", "-c", "virsh -q pool-destroy guests; virsh -q pool-undefine guests; rm -rf "+localDir+"; ip address del "+dataWay+"/24 dev br0; true")
}

// carry has Pacemaker move the guest, and checks that it continued writing meanwhile.
func (l *local) carry(node string) {
	l.t.Helper()
	before := l.status()
	l.on(target, "crm_resource", "--resource=vm1", "--move", "--node="+node, "--lifetime=PT1H")
	migrated(l.t, l.b, node)
	l.on(target, "crm_resource", "--wait", "--timeout=60")
	l.alive(before)
	from := map[string]string{source: target, target: source}[node]
	l.t.Log(l.script(from, `tail -n 1 /var/lib/vmferry/migrations.jsonl | grep -o '"duration_ms":[0-9.]*\|"disks_ms":[0-9.]*\|"pause_ms":[0-9.]*\|"disks":\[.*\]\|"name":"migrate","begin":"[^"]*","ms":[0-9.]*' | tr '\n' ' '`))
	if files := l.files(from); files != "vm1.qcow2.vmferry vm1.qcow2.vmferry-old" {
		l.t.Errorf("%s was left with %q", from, files)
	}
	if files := l.files(node); files != "vm1.qcow2" {
		l.t.Errorf("%s was given %q", node, files)
	}
}

func (l *local) files(node string) string {
	l.t.Helper()
	return strings.Join(strings.Fields(l.script(node, "ls "+localDir)), " ")
}

// alive wants the same boot of the guest, further on and with nothing strange on its disk.
func (l *local) alive(before guest.Status) {
	l.t.Helper()
	var now guest.Status
	await(l.t, "the guest to write on", 20*time.Second, func() bool {
		s, ok := l.ask()
		now = s
		return ok && s.Counter > before.Counter+5
	})
	if now.BootID != before.BootID || now.ForeignWrites+now.WriteErrors > 0 {
		l.t.Errorf("the guest was %+v and is %+v", before, now)
	}
}

// same compares what the guest does not write of an image that nobody has open.
func (l *local) same(node, image string) {
	l.t.Helper()
	if sum := l.script(node, "qemu-img convert -O raw "+image+" /tmp/raw; tail -c +8193 /tmp/raw | sha256sum; rm /tmp/raw"); sum != l.sum {
		l.t.Errorf("%s on %s is not what it was", image, node)
	}
}

func (l *local) thereAndBack() {
	l.carry(target)
	l.carry(source)
	l.same(target, localDisk+".vmferry-old") // which was copied there, and from there
}

// slow begins a move to the target over the way that can be cut, and returns when the disk is being
// copied. The agent's answer comes later.
func (l *local) slow(params ...string) <-chan string {
	l.t.Helper()
	params = append([]string{"config=/shared/guests/local.xml", "disks=copy", "migration_speed=8",
		"CRM_meta_timeout=60000"}, params...)
	env := killer{l.t, l.b}.environ(source, "migrate_to", params)
	answer := make(chan string, 1)
	go func() {
		out, _ := l.b.command(l.t.Context(),
			append(append([]string{"shell", source}, env...), agentFile, "migrate_to")...).CombinedOutput()
		answer <- string(out)
	}()
	await(l.t, "the disk to be copied", 30*time.Second, func() bool {
		out, _ := l.b.try(l.t, "shell", source, "virsh", "domjobinfo", "vm1")
		return regexp.MustCompile(`File processed: +(1[6-9]|[2-9]\d)\.`).MatchString(out)
	})
	return answer
}

// stayed wants a move that failed with these words to have harmed nothing.
func (l *local) stayed(before guest.Status, answer <-chan string, words string) {
	l.t.Helper()
	checkReason(l.t, <-answer, words)
	l.alive(before)
	if files := l.files(source); files != "vm1.qcow2" {
		l.t.Errorf("%s is left with %q", source, files)
	}
	if files := l.files(target); strings.Contains(files, "arriving") ||
		regexp.MustCompile(`(^| )vm1\.qcow2( |$)`).MatchString(files) {
		l.t.Errorf("a half copy is left: %q", files)
	}
}

func (l *local) linkCut() {
	defer func() {
		if l.t.Failed() {
			out, _ := l.b.try(l.t, "shell", source, "bash", "-c",
				"virsh domjobinfo vm1; ss -tno; tail -n 2 /var/lib/vmferry/migrations.jsonl")
			l.t.Log(out)
		}
	}()
	before := l.status()
	answer := l.slow("migrateuri=tcp://" + dataWay)
	l.script(target, "ip address del "+dataWay+"/24 dev br0")
	// QEMU cannot take back what it has sent until it hears of the other end again.
	checkReason(l.t, <-answer, "carried nothing of the disks")
	l.alive(before)
	l.script(target, "ip address add "+dataWay+"/24 dev br0")
	await(l.t, "the copying to end", 60*time.Second, func() bool {
		out, _ := l.b.try(l.t, "shell", source, "virsh", "domjobinfo", "vm1")
		return strings.Contains(out, "None")
	})
	l.carry(target)
	l.carry(source)
}

func (l *local) targetFull() {
	before := l.status()
	l.script(target, "mount -t tmpfs -o size=40m none "+localDir)
	out, _ := killer{l.t, l.b}.call(source, "migrate_to", "config=/shared/guests/local.xml", "disks=copy")
	answer := make(chan string, 1)
	answer <- out
	l.stayed(before, answer, "has 40 MiB free in "+localDir)
	l.script(target, "mount -o remount,size=80m "+localDir)
	slow := l.slow()
	l.script(target, "head -c 50m /dev/zero > "+localDir+"/another || true")
	l.stayed(before, slow, "No space left")
	l.script(target, "umount --lazy "+localDir)
}

// truthCrashes has the node die to which the guest was moved. The other has an old copy.
func (l *local) truthCrashes() {
	l.carry(target)
	before := l.status()
	boots := l.boots(target)
	l.lab(supervisor.Request{Op: supervisor.OpKill, Node: target})
	var state string
	await(l.t, source+" to refuse the start", 60*time.Second, func() bool {
		state, _ = l.b.try(l.t, "shell", source, "crm_mon", "--one-shot", "--inactive")
		return strings.Contains(state, "went with the guest to "+target)
	})
	if files := l.files(source); files != "vm1.qcow2.vmferry vm1.qcow2.vmferry-old" {
		l.t.Errorf("%s has %q", source, files)
	}
	await(l.t, target+" to boot", 60*time.Second, func() bool { return l.boots(target) > boots })
	l.runsOn(target)
	if after := l.status(); after.DiskCounterAtBoot < before.Counter || after.ForeignWrites > 0 || after.Boots != before.Boots+1 {
		l.t.Errorf("the guest was %+v and is %+v", before, after)
	}
	l.on(target, "crm_resource", "--cleanup", "--resource=vm1")
}

// verify stops the guest and compares the rest of its disk.
func (l *local) verify() {
	at := l.where()
	if len(at) != 1 {
		l.t.Fatalf("the guest runs on %v", at)
	}
	l.on(target, "crm_resource", "--resource=vm1", "--meta", "--set-parameter=target-role", "--parameter-value=Stopped")
	l.on(target, "crm_resource", "--wait", "--timeout=90")
	l.same(at[0], localDisk)
}
