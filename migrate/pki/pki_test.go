package pki_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/migrate/pki/pkitest"
)

func TestParse(t *testing.T) {
	usual := pki.Setting{Fallback: pki.DefaultDir, Verify: true}
	for _, c := range []struct {
		conf string
		want pki.Setting
	}{
		{"", usual},
		{"#migrate_tls_x509_cert_dir = \"/x\"\n # migrate_tls_x509_verify = 0\n", usual},
		{"migrate_tls_x509_cert_dir = \"/x y\"", pki.Setting{Dir: "/x y", Fallback: pki.DefaultDir, Verify: true}},
		{"\tmigrate_tls_x509_cert_dir='/x' # why\nuser = \"root\"",
			pki.Setting{Dir: "/x", Fallback: pki.DefaultDir, Verify: true, User: "root"}},
		{"default_tls_x509_cert_dir=\"/d\"\ndefault_tls_x509_verify=0", pki.Setting{Fallback: "/d"}},
		{"default_tls_x509_verify=0\nmigrate_tls_x509_verify=1", usual},
		{"migrate_tls_x509_verify = 1\nmigrate_tls_x509_verify = 0", pki.Setting{Fallback: pki.DefaultDir}},
		{"xmigrate_tls_x509_verify = 0", usual},
	} {
		if got := pki.Parse([]byte(c.conf)); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.conf, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if s, err := pki.Read(filepath.Join(dir, "none")); err != nil || s.Fallback != pki.DefaultDir {
		t.Errorf("without a file: %+v, %v", s, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/zero"} { // which would block, or never end
		if s, err := pki.Read(path); err == nil || s.Fallback != pki.DefaultDir {
			t.Errorf("%s: %+v, %v", path, s, err)
		}
	}
}

func TestNeeds(t *testing.T) {
	if got := (pki.Setting{Verify: true}).SenderNeeds(); !slices.Equal(got,
		[]string{"ca-cert.pem", "client-cert.pem", "client-key.pem"}) {
		t.Error(got)
	}
	if got := (pki.Setting{}).SenderNeeds(); !slices.Equal(got, []string{"ca-cert.pem"}) {
		t.Error(got)
	}
}

func TestJudge(t *testing.T) {
	now := time.Now()
	all := []string{pki.Authority, pki.ServerCert, pki.ServerKey, pki.ClientCert, pki.ClientKey}
	late := now.AddDate(0, 6, 0)
	for _, c := range []struct {
		name          string
		end           time.Time
		spoil         func(t *testing.T, dir string)
		fatal, doubts []string
	}{
		{"sound", late, nil, nil, nil},
		{"expired", now.Add(-time.Minute), nil, []string{"server-cert.pem expired on", "client-cert.pem expired on"}, nil},
		{"expires soon", now.AddDate(0, 0, 7), nil, nil, []string{"client-cert.pem expires on", "server-cert.pem expires on"}},
		{"a key is missing", late, func(t *testing.T, dir string) { remove(t, dir, pki.ClientKey) },
			[]string{"client-key.pem is missing"}, nil},
		{"another authority", late, func(t *testing.T, dir string) {
			other := t.TempDir()
			pkitest.New(t, now).Write(t, other, "n1", now, late)
			if err := os.Rename(filepath.Join(other, pki.Authority), filepath.Join(dir, pki.Authority)); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"client-cert.pem: x509", "server-cert.pem: x509"}},
		{"rubbish", late, func(t *testing.T, dir string) { write(t, dir, pki.ServerCert, "-----BEGIN CERTIFICATE-----\n") },
			nil, []string{"server-cert.pem has no certificate"}},
		{"a FIFO", late, func(t *testing.T, dir string) {
			remove(t, dir, pki.Authority)
			if err := syscall.Mkfifo(filepath.Join(dir, pki.Authority), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"not a regular file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			pkitest.New(t, now).Write(t, dir, "n1", now, c.end)
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			f := pki.Judge(dir, all, "", now)
			says(t, "fatal", f.Fatal, c.fatal)
			says(t, "doubts", f.Doubts, c.doubts)
		})
	}
}

// QEMU runs as another user than root, as a rule.
func TestJudgeTellsOfAKeyForRootAlone(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	dir := t.TempDir()
	write(t, dir, pki.ServerKey, "")
	for mode, want := range map[os.FileMode][]string{0o600: {"readable for root alone"}, 0o640: nil, 0o644: nil} {
		if err := os.Chmod(filepath.Join(dir, pki.ServerKey), mode); err != nil {
			t.Fatal(err)
		}
		says(t, mode.String(), pki.Judge(dir, []string{pki.ServerKey}, "libvirt-qemu", time.Now()).Doubts, want)
		says(t, mode.String()+" and QEMU as root", pki.Judge(dir, []string{pki.ServerKey}, "+0", time.Now()).Doubts, nil)
	}
}

func TestJudgeServer(t *testing.T) {
	now := time.Now()
	file := func(node, name string, end time.Time) []byte {
		dir := t.TempDir()
		pkitest.New(t, now).Write(t, dir, node, now, end)
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	late := now.AddDate(0, 6, 0)
	cert, stranger := file("n2.lan", pki.ServerCert, late), file("n2", pki.Authority, late)
	for _, c := range []struct {
		name          string
		raw, ca       []byte
		host          string
		sure          bool
		fatal, doubts []string
	}{
		{"sound", cert, nil, "n2.lan", true, nil, nil},
		{"upper case", cert, nil, "N2.LAN", true, nil, nil},
		{"another name", cert, nil, "n2", true, []string{`is for ["n2.lan"], and not for "n2"`}, nil},
		{"perhaps another name", cert, nil, "n2", false, nil, []string{`not for "n2"`}},
		{"a name that is an address", file("192.0.2.2", pki.ServerCert, late), nil, "192.0.2.2", true, nil, nil},
		{"any host of a domain", file("*.lan", pki.ServerCert, late), nil, "n2.lan", true, nil, nil},
		{"another authority", cert, stranger, "n2.lan", true, nil, []string{"server-cert.pem: x509"}},
		{"expired", file("n2", pki.ServerCert, now.Add(-time.Minute)), nil, "n2", true, []string{"expired on"}, nil},
		{"rubbish", []byte("x"), nil, "n2", true, nil, []string{"no certificate"}},
	} {
		f := pki.JudgeServer(c.raw, c.ca, c.host, c.sure, now)
		says(t, c.name, f.Fatal, c.fatal)
		says(t, c.name, f.Doubts, c.doubts)
	}
}

// What another node sends may be anything.
func FuzzJudgeServer(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), "n2")
	f.Fuzz(func(t *testing.T, raw []byte, host string) {
		if flaws := pki.JudgeServer(raw, nil, host, true, time.Unix(0, 0)); len(flaws.Fatal)+len(flaws.Doubts) > 6 {
			t.Errorf("%d flaws of one certificate", len(flaws.Fatal)+len(flaws.Doubts))
		}
	})
}

func says(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("migrate_tls_x509_cert_dir = \"/x\"\nmigrate_tls_x509_verify = 0\n"))
	f.Fuzz(func(t *testing.T, conf []byte) {
		if s := pki.Parse(conf); s.Fallback == "" || strings.ContainsAny(s.Dir+s.Fallback+s.User, "\n") {
			t.Errorf("%q: %+v", conf, s)
		}
	})
}
