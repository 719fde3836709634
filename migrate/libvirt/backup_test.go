package libvirt

import (
	"strings"
	"testing"
	"time"
)

func TestBackupDocuments(t *testing.T) {
	b := Backup{Checkpoint: "vmferry-3-8", Socket: "/run/x/nbd", Disks: []BackupDisk{
		{Target: "vda", Scratch: "/d/a & b.scratch", Incremental: "vmferry-3-7", Bitmap: "dirty"},
		{Target: "vdb", Scratch: "/d/b.scratch"},
	}}
	backup, checkpoint, err := b.Documents()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ got, want string }{
		"backup": {backup, `<domainbackup mode="pull">
			<server transport="unix" socket="/run/x/nbd"></server>
			<disks>
			<disk type="file" name="vda" backup="yes" backupmode="incremental" incremental="vmferry-3-7" exportname="vda" ` +
			`exportbitmap="dirty">
			<driver type="qcow2"></driver>
			<scratch file="/d/a &amp; b.scratch"></scratch>
			</disk>
			<disk type="file" name="vdb" backup="yes" backupmode="full" exportname="vdb">
			<driver type="qcow2"></driver>
			<scratch file="/d/b.scratch"></scratch>
			</disk>
			</disks>
			</domainbackup>`},
		"checkpoint": {checkpoint, `<domaincheckpoint>
			<name>vmferry-3-8</name>
			<disks>
			<disk name="vda" checkpoint="bitmap" bitmap="vmferry-3-8"></disk>
			<disk name="vdb" checkpoint="bitmap" bitmap="vmferry-3-8"></disk>
			</disks>
			</domaincheckpoint>`},
	} {
		if got, want := lines(c.got), lines(c.want); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
	}
	if socket, err := BackupSocket(backup); err != nil || socket != b.Socket {
		t.Errorf("socket %q, %v", socket, err)
	}
	if socket, err := BackupSocket("<domainbackup mode='push'/>"); err != nil || socket != "" {
		t.Errorf("socket of a push backup: %q, %v", socket, err)
	}
	if _, err := BackupSocket("<"); err == nil {
		t.Error("no error")
	}
}

func TestCheckpointXML(t *testing.T) {
	got, err := CheckpointXML("vmferry-1-2", []string{"sda"}, time.Unix(1234567890, 5))
	want := `<domaincheckpoint>
		<name>vmferry-1-2</name>
		<creationTime>1234567890</creationTime>
		<disks>
		<disk name="sda" checkpoint="bitmap" bitmap="vmferry-1-2"></disk>
		</disks>
		</domaincheckpoint>`
	if err != nil || lines(got) != lines(want) {
		t.Errorf("%s, %v", got, err)
	}
}

// lines drops the blanks that begin and end each line.
func lines(text string) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return strings.Join(all, "\n")
}
