package pacemaker

import (
	"errors"
	"strings"
	"testing"
)

func TestLeaving(t *testing.T) {
	for _, tt := range []struct {
		name, attrs string
		want        bool
	}{
		{"at work", `standby="false" shutdown="false"`, false},
		{"older crm_mon", "", false},
		{"standby", `standby="true" shutdown="false"`, true},
		{"shutting down", `standby="false" shutdown="true"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other := `<node name="n2" online="true" standby="true" shutdown="true" type="member"/>`
			doc := strings.Replace(nodesXML(other), `name="n1"`, `name="n1" `+tt.attrs, 1)
			p := &programs{answer: map[string]string{"crm_node": "n1\n", "crm_mon": doc}}
			if got, err := client(t, p).Leaving(t.Context()); err != nil || got != tt.want {
				t.Errorf("%v, %v; want %v", got, err, tt.want)
			}
		})
	}
	p := &programs{answer: map[string]string{"crm_node": "n1"},
		fail: map[string]error{"crm_mon": errors.New("not connected")}}
	if got, err := client(t, p).Leaving(t.Context()); err == nil {
		t.Errorf("%v and no error", got)
	}
}
