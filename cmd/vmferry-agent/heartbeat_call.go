package main

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
	"github.com/vmferry/vmferry/resource"
)

const heartbeatUsage = `usage: vmferry GUEST [PARAM=VALUE]... start|stop|status

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

// heartbeatCall is a call as it was written.
type heartbeatCall struct {
	action  string // start, stop, status or usage
	config  string // the path of the guest's XML
	name    string // what the guest is called in notes
	params  []string
	timeout time.Duration // for one action; zero: the defaults
	problem error         // what is wrong with the parameters; the guest is known all the same
}

// parseHeartbeatCall reads "GUEST PARAM=VALUE… ACTION". It is an error when the action or the
// guest is not known; the action stands in the result all the same, where it is.
func parseHeartbeatCall(args []string) (heartbeatCall, error) {
	if len(args) == 0 {
		return heartbeatCall{}, errors.New("no guest and no action")
	}
	action, ok := heartbeatActions[args[len(args)-1]]
	if !ok {
		return heartbeatCall{}, fmt.Errorf("%w %q: use start, stop or status", errNoAction, args[len(args)-1])
	}
	c := heartbeatCall{action: action}
	args = args[:len(args)-1]
	if action == "usage" {
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

var heartbeatActions = map[string]string{
	"start": "start", "stop": "stop", "status": "status", "monitor": "status",
	"usage": "usage", "help": "usage", "-h": "usage", "--help": "usage",
}

// take takes in one parameter.
func (c *heartbeatCall) take(arg string) error {
	name, value, ok := strings.Cut(arg, "=")
	switch {
	case !ok || !paramName.MatchString(name) || notOurs.MatchString(name):
		return fmt.Errorf("%q is no parameter: write PARAM=VALUE", arg)
	case name == "config":
		return errors.New("config is not set by name: the guest comes first")
	case name == actionTimeout:
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 1 || seconds > maxSeconds {
			return fmt.Errorf("timeout=%q is no time: give whole seconds, from 1 to %d", value, maxSeconds)
		}
		c.timeout = time.Duration(seconds) * time.Second
		return nil
	}
	c.params = append(c.params, arg)
	return nil
}

// check says what is wrong with the parameters, on one line. The agent has the last word on
// their values.
func (c heartbeatCall) check(agentEnviron []string) error {
	if c.problem != nil {
		return errors.New(strings.ReplaceAll(c.problem.Error(), "\n", "; "))
	}
	if unknown := resource.ParseEnviron(agentEnviron).Ignored; len(unknown) > 0 {
		return fmt.Errorf("%s is not a parameter of this agent", strings.Join(unknown, ", "))
	}
	return nil
}

// limit is the time of an action that usually gets d.
func (c heartbeatCall) limit(d time.Duration) time.Duration {
	if c.timeout > 0 {
		return c.timeout
	}
	return d
}

// split divides the time of a stop between moving the guest and shutting it down. A
// timeout that is longer than usual lengthens the move, a shorter one shortens both alike.
func (c heartbeatCall) split() (move, end time.Duration) {
	if c.timeout <= 0 {
		return heartbeatMove, heartbeatStop
	}
	end = min(heartbeatStop, c.timeout*3/7) // as 90 s are of 210 s
	return c.timeout - end, end
}

// agentEnviron is the environment of the agent's for one action: what Pacemaker would set. The
// OCF variables that Heartbeat sets are for agents of its own.
func (r *heartbeatRun) agentEnviron(limit time.Duration, target string) []string {
	env := slices.DeleteFunc(slices.Clone(r.environ), func(v string) bool { return strings.HasPrefix(v, "OCF_") })
	set := func(name, value string) { env = append(env, name+"="+value) }
	for _, p := range r.call.params {
		env = append(env, "OCF_RESKEY_"+p)
	}
	set("OCF_RESOURCE_INSTANCE", r.call.name)
	set("OCF_RESKEY_config", r.call.config)
	if node, err := os.Hostname(); err == nil {
		set("OCF_RESKEY_CRM_meta_on_node", node)
	}
	if limit > 0 {
		set("OCF_RESKEY_CRM_meta_timeout", strconv.FormatInt(limit.Milliseconds(), 10))
	}
	if target != "" {
		set("OCF_RESKEY_CRM_meta_migrate_target", target)
	}
	if slices.ContainsFunc(r.environ, func(v string) bool { return strings.HasPrefix(v, "HA_DIR=") }) {
		set("HA_LOGFACILITY", "none") // Heartbeat called, whatever its log: the form is a manager's
	}
	return env
}
