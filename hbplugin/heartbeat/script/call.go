package script

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/resource/param"
)

const usage = `usage: vmferry GUEST [PARAM=VALUE]... start|stop|status

The resource script of Heartbeat for QEMU guests of libvirt, see vmferry-heartbeat(7).
GUEST is the absolute path of the guest's XML file, or NAME for
` + heartbeat.ConfigDir + `/NAME.xml. PARAM is a parameter of ocf:vmferry:Domain, or
timeout, the seconds that one action may take.
In /etc/ha.d/haresources: node1 vmferry::vm1::migration_transport=tcp
By hand: /etc/ha.d/resource.d/vmferry vm1 status
`

const (
	actionTimeout = "timeout" // the parameter that the OCF face does not have
	maxSeconds    = 24 * 60 * 60
)

var (
	errNoAction = errors.New("no action")
	paramName   = regexp.MustCompile(`^[A-Za-z]\w*$`)
	// notOurs are variables that a manager or a tracer sets for itself.
	notOurs = regexp.MustCompile(`^(CRM_|crm_|trace_)`)
)

// call is a call as it was written.
type call struct {
	verb    string // start, stop, status or usage
	config  string // the path of the guest's XML
	name    string // what the guest is called in notes
	params  []string
	timeout time.Duration // for one action; zero: the defaults
	problem error         // what is wrong with the parameters; the guest is known all the same
}

// parseCall reads "GUEST PARAM=VALUE… ACTION". It is an error when the action or the
// guest is not known; the action stands in the result all the same, where it is.
func parseCall(args []string) (call, error) {
	if len(args) == 0 {
		return call{}, errors.New("no guest and no action")
	}
	verb, ok := actions[args[len(args)-1]]
	if !ok {
		return call{}, fmt.Errorf("%w %q: use start, stop or status", errNoAction, args[len(args)-1])
	}
	c := call{verb: verb}
	args = args[:len(args)-1]
	if verb == "usage" {
		return c, nil
	}
	if len(args) == 0 {
		return c, errors.New("no guest is named")
	}
	config, err := heartbeat.ConfigFile(args[0])
	if err != nil {
		return c, err
	}
	c.config, c.name = config, heartbeat.Name(config)
	for _, arg := range args[1:] {
		c.problem = errors.Join(c.problem, c.take(arg))
	}
	return c, nil
}

var actions = map[string]string{
	"start": "start", "stop": "stop", "status": "status", "monitor": "status",
	"usage": "usage", "help": "usage", "-h": "usage", "--help": "usage",
}

// take takes in one parameter.
func (c *call) take(arg string) error {
	name, value, ok := strings.Cut(arg, "=")
	switch {
	case !ok || !paramName.MatchString(name) || notOurs.MatchString(name):
		return fmt.Errorf("%q is not a parameter: write PARAM=VALUE", arg)
	case name == "config":
		return errors.New("config is not set by name: the guest comes first")
	case name == actionTimeout:
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 1 || seconds > maxSeconds {
			return fmt.Errorf("timeout=%q is not a time: give whole seconds, from 1 to %d", value, maxSeconds)
		}
		c.timeout = time.Duration(seconds) * time.Second
		return nil
	}
	c.params = append(c.params, arg)
	return nil
}

// check says what is wrong with the parameters, on one line. The agent has the last word on
// their values.
func (c call) check(agentEnviron []string) error {
	if c.problem != nil {
		return errors.New(strings.ReplaceAll(c.problem.Error(), "\n", "; "))
	}
	if unknown := param.ParseEnviron(agentEnviron).Ignored; len(unknown) > 0 {
		return fmt.Errorf("%s is not a parameter of this agent", strings.Join(unknown, ", "))
	}
	return nil
}

// agentEnviron is the environment of the agent's for one action: what Pacemaker would set. The
// OCF variables that Heartbeat sets are for agents of its own.
func (c call) agentEnviron(environ []string, limit time.Duration, target string) []string {
	env := slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "OCF_") })
	set := func(name, value string) { env = append(env, name+"="+value) }
	for _, p := range c.params {
		env = append(env, "OCF_RESKEY_"+p)
	}
	set("OCF_RESOURCE_INSTANCE", c.name)
	set("OCF_RESKEY_config", c.config)
	if node, err := os.Hostname(); err == nil {
		set("OCF_RESKEY_CRM_meta_on_node", node)
	}
	if limit > 0 {
		set("OCF_RESKEY_CRM_meta_timeout", strconv.FormatInt(limit.Milliseconds(), 10))
	}
	if target != "" {
		set("OCF_RESKEY_CRM_meta_migrate_target", target)
	}
	if slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "HA_DIR=") }) {
		set("HA_LOGFACILITY", "none") // Heartbeat called, whatever its log: the form is a manager's
	}
	return env
}
