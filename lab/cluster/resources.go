package cluster

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Guest is a virtual machine that the cluster is to run.
type Guest struct {
	Name   string
	Config string      // path of the domain's XML, as the nodes see it
	XMFile string      // path of the same guest's xl.cfg(5); empty where there is no xl
	More   []Parameter // of its resource, beside those of the hypervisor
}

// Agent is a resource agent, in the three parts of its name.
type Agent struct{ Class, Provider, Type string }

// String is the agent's name as crm_mon(8) and operators write it.
func (a Agent) String() string { return a.Class + ":" + a.Provider + ":" + a.Type }

// The agents that the lab compares: ours runs on every hypervisor, and has a
// peer on each.
var (
	Ours          = Agent{"ocf", "vmferry", "Domain"}
	VirtualDomain = Agent{"ocf", "heartbeat", "VirtualDomain"}
	HeartbeatXen  = Agent{"ocf", "heartbeat", "Xen"}
)

// configuration is a part of a CIB: the guests as resources, with a
// preference for one node that stickiness outweighs, so that they start there
// but do not wander back.
var configuration = template.Must(template.New("cib").Funcs(template.FuncMap{"x": escape, "s": inSeconds, "parameters": parameters}).Parse(`<configuration>
 <resources>{{range .Guests}}
  <primitive id="{{x .Name}}" class="{{$.Agent.Class}}" provider="{{$.Agent.Provider}}" type="{{$.Agent.Type}}">
   <instance_attributes id="{{x .Name}}-params">{{$guest := .}}{{range parameters $.Hypervisor $.Agent .}}
    <nvpair id="{{x $guest.Name}}-{{.Name}}" name="{{.Name}}" value="{{x .Value}}"/>{{end}}
   </instance_attributes>
   <meta_attributes id="{{x .Name}}-meta">
    <nvpair id="{{x .Name}}-migrate" name="allow-migrate" value="true"/>
    <nvpair id="{{x .Name}}-sticky" name="resource-stickiness" value="1000"/>
    <nvpair id="{{x .Name}}-role" name="target-role" value="Started"/>
   </meta_attributes>
   <operations>{{$limit := $.Hypervisor.Limit}}
    <op id="{{x .Name}}-start" name="start" interval="0s" timeout="{{s $limit.Start}}"/>
    <op id="{{x .Name}}-stop" name="stop" interval="0s" timeout="{{s $limit.Stop}}"/>
    <op id="{{x .Name}}-monitor" name="monitor" interval="{{s $limit.MonitorEvery}}" timeout="{{s $limit.Monitor}}"/>
    <op id="{{x .Name}}-to" name="migrate_to" interval="0s" timeout="{{s $limit.MigrateTo}}"/>
    <op id="{{x .Name}}-from" name="migrate_from" interval="0s" timeout="{{s $limit.MigrateFrom}}"/>
   </operations>
  </primitive>{{end}}
 </resources>
 <constraints>{{range .Guests}}
  <rsc_location id="{{x .Name}}-prefers" rsc="{{x .Name}}" node="{{x $.Node}}" score="50"/>{{end}}
 </constraints>
</configuration>`))

// inSeconds writes a time as Pacemaker wants it.
func inSeconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) + "s" }

func parameters(h Hypervisor, a Agent, g Guest) []Parameter {
	return append(h.Parameters(a, g), g.More...)
}

func escape(text string) (string, error) {
	var b bytes.Buffer
	err := xml.EscapeText(&b, []byte(text))
	return b.String(), err
}

// AddGuests has the cluster run the guests with the given agent, first on
// the named node. It returns when the cluster has the configuration.
func (c *Cluster) AddGuests(ctx context.Context, agent Agent, guests []Guest, on string) error {
	text, err := Configuration(c.Hypervisor, agent, guests, on)
	if err != nil {
		return err
	}
	_, err = c.Run(ctx, on, "cibadmin", "--modify", "--allow-create", "--scope=configuration", "--xml-text="+text)
	return err
}

// Configuration is what [Cluster.AddGuests] adds to a CIB, for cibadmin(8) and its
// scope "configuration".
func Configuration(h Hypervisor, agent Agent, guests []Guest, on string) (string, error) {
	var text strings.Builder
	err := configuration.Execute(&text, struct {
		Hypervisor Hypervisor
		Agent      Agent
		Guests     []Guest
		Node       string
	}{h, agent, guests, on})
	return text.String(), err
}

// RemoveGuests has the cluster stop the guests, waits until it has, and takes
// them out of its configuration. via is a node that is a member.
func (c *Cluster) RemoveGuests(ctx context.Context, via string, guests []Guest) error {
	for _, g := range guests {
		if _, err := c.Run(ctx, via, "crm_resource", "--resource="+g.Name, "--meta", "--set-parameter=target-role",
			"--parameter-value=Stopped"); err != nil {
			return err
		}
	}
	err := Await(ctx, "the guests to stop", func(ctx context.Context) (bool, error) {
		m, err := c.Monitor(ctx, via)
		for _, g := range guests {
			if r, ok := m.Resources[g.Name]; ok && len(r.On) > 0 {
				return false, err
			}
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	for _, g := range guests {
		for _, path := range []string{"//constraints/*[@rsc='%s']", "//primitive[@id='%s']"} {
			if _, err := c.Run(ctx, via, "cibadmin", "--delete-all", "--force",
				"--xpath="+fmt.Sprintf(path, g.Name)); err != nil {
				return err
			}
		}
		// What the cluster remembers of a resource's past would follow the
		// name to the next agent.
		forget, cancel := context.WithTimeout(ctx, 10*time.Second)
		// It fails where the resource is forgotten already.
		_, _ = c.Run(forget, via, "crm_resource", "--refresh", "--resource="+g.Name, "--force")
		cancel()
	}
	return nil
}
