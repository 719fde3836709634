package cib

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
)

func TestWithStandby(t *testing.T) {
	const on = `<nvpair id="vmferry-forecast-standby" name="standby" value="on"/>`
	const set = `<instance_attributes id="vmferry-forecast">` + on + `</instance_attributes>`
	for _, tt := range []struct{ name, state, want string }{
		{"nothing there", `<node_state id="1" uname="n1"/>`,
			`<node_state id="1" uname="n1"><transient_attributes id="1">` + set +
				`</transient_attributes></node_state>`},
		{"no attributes", `<node_state id="1" uname="n1"><lrm/></node_state>`,
			`<node_state id="1" uname="n1"><transient_attributes id="1">` + set +
				`</transient_attributes><lrm/></node_state>`},
		{"an empty list", `<node_state uname="n1"><transient_attributes id="1"/></node_state>`,
			`<node_state uname="n1"><transient_attributes id="1">` + set + `</transient_attributes></node_state>`},
		{"an empty set", `<node_state uname="n1"><transient_attributes><instance_attributes id="s"/></transient_attributes></node_state>`,
			`<node_state uname="n1"><transient_attributes><instance_attributes id="s">` + on +
				`</instance_attributes></transient_attributes></node_state>`},
		{"off", `<node_state uname="n1"><transient_attributes><instance_attributes id="s"><nvpair id="x" name="standby" value="off"/><nvpair id="y" name="z" value="1"/></instance_attributes></transient_attributes></node_state>`,
			`<node_state uname="n1"><transient_attributes><instance_attributes id="s">` + on +
				`<nvpair id="y" name="z" value="1"/></instance_attributes></transient_attributes></node_state>`},
		{"on, in the second set, with an end tag",
			`<node_state uname="n1"><transient_attributes><instance_attributes id="s"></instance_attributes><instance_attributes id="t"><nvpair name="standby" value="true"></nvpair></instance_attributes></transient_attributes></node_state>`,
			`<node_state uname="n1"><transient_attributes><instance_attributes id="s">` + on +
				`</instance_attributes><instance_attributes id="t"></instance_attributes></transient_attributes></node_state>`},
		{"the other node stays",
			`<node_state uname="n2"><transient_attributes><instance_attributes><nvpair name="standby" value="on"/></instance_attributes></transient_attributes></node_state><node_state id="1" uname="n1"/>`,
			`<node_state uname="n2"><transient_attributes><instance_attributes><nvpair name="standby" value="on"/></instance_attributes></transient_attributes></node_state>` +
				`<node_state id="1" uname="n1"><transient_attributes id="1">` + set +
				`</transient_attributes></node_state>`},
		{"an operation under way",
			`<node_state id="1" uname="n1"><transient_attributes/><lrm><lrm_rsc_op id="a" transition-key="7:1:0:u" transition-magic="-1:193;7:1:0:u" call-id="-1" rc-code="193" op-status="-1" exit-reason="a &lt; b"/></lrm></node_state>`,
			`<node_state id="1" uname="n1"><transient_attributes>` + set +
				`</transient_attributes><lrm><lrm_rsc_op id="a" transition-key="7:1:0:u" transition-magic="0:0;7:1:0:u" call-id="2000000000" rc-code="0" op-status="0" exit-reason="a &lt; b"/></lrm></node_state>`},
		{"a probe under way",
			`<node_state id="1" uname="n1"><transient_attributes/></node_state><node_state uname="n2"><lrm_rsc_op transition-key="7:1:7:u" rc-code="193" op-status="-1"></lrm_rsc_op></node_state>`,
			`<node_state id="1" uname="n1"><transient_attributes>` + set +
				`</transient_attributes></node_state><node_state uname="n2"><lrm_rsc_op transition-key="7:1:7:u" rc-code="7" op-status="0"></lrm_rsc_op></node_state>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := func(state string) string {
				return "<?xml version=\"1.0\"?>\n<cib><!-- n1 --><configuration><node uname=\"n1\"><nvpair name=\"standby\" value=\"off\"/></node></configuration><status>" + state + "</status></cib>\n"
			}
			got, err := WithStandby([]byte(doc(tt.state)), "n1")
			if err != nil || string(got) != doc(tt.want) {
				t.Errorf("%v\n got %s\nwant %s", err, got, doc(tt.want))
			}
		})
	}
}

func TestWithStandbyRefuses(t *testing.T) {
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", "", "cut short"},
		{"cut short", `<cib><status><node_state uname="n1"/>`, "EOF"},
		{"an unknown node", `<cib><status><node_state uname="n2"/></status></cib>`, `does not know node "n1"`},
		{"a configuration alone", `<configuration/>`, `does not know node "n1"`},
		{"no XML", "Signon to CIB failed", `does not know node "n1"`},
	} {
		if got, err := WithStandby([]byte(tt.doc), "n1"); err == nil || !strings.Contains(err.Error(), tt.want) ||
			got != nil {
			t.Errorf("%s: %q, error %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// What can be read can be read afterwards, and has the standby once.
func FuzzWithStandby(f *testing.F) {
	f.Add(`<cib><status><node_state uname="n1"><transient_attributes><instance_attributes><nvpair name="standby" value="off"/></instance_attributes></transient_attributes></node_state></status></cib>`)
	f.Add(`<cib><status><node_state uname="n1"/><node_state uname="n1"><lrm_rsc_op op-status="-1" transition-key="1:2:3:4"/></node_state></status></cib>`)
	f.Fuzz(func(t *testing.T, doc string) {
		got, err := WithStandby([]byte(doc), "n1")
		if err != nil {
			return
		}
		if err := xml.Unmarshal(got, &tree{}); err != nil {
			t.Errorf("%v: %q became %q", err, doc, got)
		}
		if n := bytes.Count(got, []byte(StandbyID)) - strings.Count(doc, StandbyID); n != 1 {
			t.Errorf("%d times: %q became %q", n, doc, got)
		}
	})
}

func FuzzParseSimulation(f *testing.F) {
	f.Add(`<pacemaker-result><cluster_status/><allocations_utilizations><node_weight id="a" node="n" score="-INFINITY"/><capacity node="n" comment="Original"><m>1</m></capacity></allocations_utilizations>` +
		`<actions><rsc_action action="stop" resource="a:0" node="n" blocked="true"/><node_action task="Fence (off)" node="n" reason="r"/></actions><revised_cluster_status/><status code="0"/></pacemaker-result>`)
	f.Fuzz(func(t *testing.T, doc string) {
		s, err := ParseSimulation(strings.NewReader(doc))
		if err != nil && s.Actions != nil {
			t.Error("an error came with actions")
		}
		for _, a := range s.Actions {
			if len(s.Of(Primitive(a.Resource))) == 0 {
				t.Errorf("%+v is lost", a)
			}
		}
	})
}
