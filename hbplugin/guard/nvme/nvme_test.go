package nvme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// two is what nvme-cli 2 writes for two registrants.
const two = `{
  "gen":5,
  "rtype":5,
  "regctl":2,
  "ptpls":1,
  "regctlext":[
    {
      "cntlid":65535,
      "rcsts":1,
      "rkey":1,
      "hostid":"0f7c8f5e11114222833344445555aaaa"
    },
    {
      "cntlid":2,
      "rcsts":1,
      "rkey":18446744073709551615,
      "hostid":"1f7c8f5e11114222833344445555aaaa"
    }
  ]
}
`

func TestParseReport(t *testing.T) {
	r, err := ParseReport([]byte(two))
	if err != nil || r.Type != 5 || !slices.Equal(r.Keys, []uint64{1, 1<<64 - 1}) {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = ParseReport([]byte(`{"rtype":0,"regctl":0,"regctlext":[]}`))
	if err != nil || r.Type != 0 || r.Keys != nil {
		t.Errorf("nobody is registered: %+v, %v", r, err)
	}
	for text, want := range map[string]string{
		"":              "not understood",
		"{":             "not understood",
		"NVME status":   "not understood",
		two + two:       "something follows it",
		`{}`:            "lacks rtype",
		`{"rtype":5}`:   "lacks rtype",
		`null`:          "lacks rtype",
		`{"rtype":"5"}`: "not understood",
		`{"rtype":5,"regctl":1,"regctls":[{"rkey":1}]}`:                      "lacks rtype",
		`{"rtype":5,"regctl":2,"regctlext":[{"rkey":1}]}`:                    "1 of 2 registrants",
		`{"rtype":5,"regctl":1,"regctlext":[]}`:                              "0 of 1 registrants",
		`{"rtype":5,"regctl":1,"regctlext":null}`:                            "lacks rtype",
		`{"rtype":5,"regctl":1,"regctlext":[{}]}`:                            "without rkey",
		`{"rtype":5,"regctl":1,"regctlext":[{"rkey":-1}]}`:                   "not understood",
		`{"rtype":5,"regctl":1,"regctlext":[{"rkey":1.5}]}`:                  "not understood",
		`{"rtype":5,"regctl":1,"regctlext":[{"rkey":18446744073709551616}]}`: "not understood",
	} {
		if r, err := ParseReport([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", text, r, err, want)
		}
	}
}

// Who is in a report is in its text.
func FuzzParseReport(f *testing.F) {
	f.Add([]byte(two))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseReport(text)
		if err != nil {
			return
		}
		for _, key := range r.Keys {
			if !strings.Contains(string(text), fmt.Sprint(key)) {
				t.Errorf("%q has no key %d", text, key)
			}
		}
		if next, err := revoke(1, 2)(r); err == nil && next == nil && (r.Type != 5 || !r.has(1) || r.has(2)) {
			t.Errorf("%q proves that key 2 cannot write", text)
		}
	})
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name   string
		decide func(Report) (step, error)
		report Report
		want   string // of the step
		err    string
	}{
		{"revoke", revoke(1, 2), Report{5, []uint64{1, 2}},
			"resv-acquire --crkey=0x1 --prkey=0x2 --rtype=5 --racqa=2", ""},
		{"revoked", revoke(1, 2), Report{5, []uint64{1}}, "", ""},
		{"revoked, three nodes", revoke(1, 2), Report{5, []uint64{3, 1}}, "", ""},
		{"revoke its own", revoke(1, 1), Report{5, []uint64{1, 2}}, "", "its own access"},
		{"revoke, not registered", revoke(1, 2), Report{5, []uint64{2}}, "", "key 0x1 is not registered"},
		{"revoke, nothing there", revoke(1, 2), Report{0, nil}, "", "key 0x1 is not registered"},
		{"no reservation", revoke(1, 2), Report{0, []uint64{1}}, "", "of type 0, not of type 5"},
		{"the others can write", revoke(1, 2), Report{4, []uint64{1, 2}}, "", "of type 4, not of type 5"},
		{"admit", admit(2), Report{0, nil}, "resv-register --nrkey=0x2 --rrega=0 --cptpl=3", ""},
		{"admit the second", admit(2), Report{5, []uint64{1}}, "resv-register --nrkey=0x2 --rrega=0 --cptpl=3", ""},
		{"reserve", admit(2), Report{0, []uint64{2}}, "resv-acquire --crkey=0x2 --rtype=5 --racqa=0", ""},
		{"admitted", admit(2), Report{5, []uint64{1, 2}}, "", ""},
		{"somebody else's", admit(2), Report{1, []uint64{9}}, "", "a reservation of type 1 already"},
	} {
		next, err := tt.decide(tt.report)
		if strings.Join(next, " ") != tt.want || (err != nil) != (tt.err != "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.name, next, err)
		}
	}
}

// namespace is one that several nodes share, with an nvme-cli for it.
type namespace struct {
	Report
	calls []string
	fails string // the verb that fails
	deaf  bool   // changes change nothing
}

func (n *namespace) run(_ context.Context, name string, args ...string) (stdout, stderr []byte, err error) {
	n.calls = append(n.calls, strings.Join(append([]string{name}, args...), " "))
	value := func(option string) (v uint64) {
		for _, a := range args {
			if text, ok := strings.CutPrefix(a, option+"="); ok {
				_, _ = fmt.Sscan(text, &v)
			}
		}
		return v
	}
	switch {
	case args[0] == n.fails:
		return []byte("NVMe status: Reservation Conflict(0x4083)\n"), nil, errors.New("exit status 1")
	case args[0] == "resv-report":
		return n.json(), []byte("a warning\n"), nil
	case n.deaf:
	case args[0] == "resv-register":
		n.Keys = append(n.Keys, value("--nrkey"))
	case value("--racqa") == 2:
		n.Keys = slices.DeleteFunc(n.Keys, func(k uint64) bool { return k == value("--prkey") })
	default:
		n.Type = int(value("--rtype"))
	}
	return nil, nil, nil
}

func (n *namespace) json() []byte {
	registrants := []string{}
	for _, k := range n.Keys {
		registrants = append(registrants, fmt.Sprintf(`{"cntlid":1,"rcsts":1,"rkey":%d,"hostid":"00"}`, k))
	}
	return fmt.Appendf(nil, `{"gen":1,"rtype":%d,"regctl":%d,"ptpls":1,"regctlext":[%s]}`+"\n", n.Type, len(n.Keys),
		strings.Join(registrants, ","))
}

func TestDriver(t *testing.T) {
	n := new(namespace)
	d, ctx, devices := Driver{n.run}, t.Context(), []string{"/dev/nvme0n1"}
	for _, err := range []error{d.Admit(ctx, 1, devices), d.Admit(ctx, 2, devices), d.Admit(ctx, 2, devices)} {
		if err != nil {
			t.Error(err)
		}
	}
	if n.Type != 5 || !slices.Equal(n.Keys, []uint64{1, 2}) {
		t.Errorf("admitted: %+v", n.Report)
	}
	n.calls = nil
	if err := d.Revoke(ctx, 1, 2, devices); err != nil || !slices.Equal(n.Keys, []uint64{1}) {
		t.Errorf("revoked: %+v, %v", n.Report, err)
	}
	report := "nvme resv-report /dev/nvme0n1 --eds --output-format=json"
	preempt := "nvme resv-acquire /dev/nvme0n1 --crkey=0x1 --prkey=0x2 --rtype=5 --racqa=2"
	if want := []string{report, preempt, report}; !slices.Equal(n.calls, want) {
		t.Errorf("calls %q", n.calls)
	}
	if err := d.Revoke(ctx, 1, 2, devices); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	if err := d.Admit(ctx, 2, devices); err != nil || len(n.Keys) != 2 {
		t.Errorf("admitted again: %+v, %v", n.Report, err)
	}
}

func TestDriverFails(t *testing.T) {
	n := &namespace{Report: Report{5, []uint64{1, 2}}}
	d := Driver{n.run}
	for fails, want := range map[string]string{
		"resv-report":  "/dev/a: nvme resv-report: exit status 1: NVMe status: Reservation Conflict(0x4083)",
		"resv-acquire": "/dev/a: nvme resv-acquire: exit status 1: NVMe status: Reservation Conflict(0x4083)",
	} {
		n.fails = fails
		err := d.Revoke(t.Context(), 1, 2, []string{"/dev/a", "/dev/b"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/dev/b: ") {
			t.Errorf("%s: %v", fails, err)
		}
	}
	n.fails, n.deaf = "", true
	err := d.Revoke(t.Context(), 1, 2, []string{"/dev/a"})
	if err == nil || !strings.Contains(err.Error(), "not as wanted after 4 changes") {
		t.Errorf("a key that stays: %v", err)
	}
}
