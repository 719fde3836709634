package pacemaker

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
)

var simulator = flag.String("crm-simulate", "", "ask this crm_simulate, and rewrite what testdata/forecast holds of it")

// scheduler is Pacemaker with the CIB of one case. crm_simulate's answers are the real ones of Pacemaker 3.0.0.
type scheduler struct {
	t    *testing.T
	name string
	runs int
}

func (s *scheduler) file(kind string) string {
	return filepath.Join("testdata", "forecast", s.name+"."+kind+".xml")
}

func (s *scheduler) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	if program != "crm_simulate" {
		return os.ReadFile(s.file("cib"))
	}
	s.runs++
	kept := s.file(fmt.Sprint(s.runs))
	if *simulator == "" {
		return os.ReadFile(kept)
	}
	out, err := Exec(ctx, *simulator, args...)
	if err == nil {
		err = os.WriteFile(kept, out, 0o644)
	}
	return out, err
}

func (s *scheduler) client() *Client {
	return &Client{Node: "n1", Agents: bothAgents, Run: s.run, Proc: proc(s.t, alive)}
}

func line(v hbplugin.Verdict) string {
	return strings.Join([]string{v.Resource, string(v.Fate), v.To, v.Why, v.Remedy}, " | ")
}
func TestForecast(t *testing.T) {
	files, _ := filepath.Glob("testdata/forecast/*.cib.xml")
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".cib.xml")
		t.Run(name, func(t *testing.T) {
			s := &scheduler{t: t, name: name}
			got, err := s.client().Forecast(t.Context())
			fmt.Printf("== %s runs=%d\n", name, s.runs)
			if err != nil {
				t.Error(err)
			}
			for _, v := range got {
				fmt.Println("    " + line(v))
			}
		})
	}
}
