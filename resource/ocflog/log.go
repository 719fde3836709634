package ocflog

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/ocf"
)

const program = "vmferry-agent"

// managers are variables that only a cluster manager sets.
var managers = []string{"HA_LOGFACILITY", "HA_logfacility", "HA_LOGD", "HA_use_logd", "HA_LOGFILE",
	"OCF_EXIT_REASON_PREFIX"}

// Call is one call of the agent, as its log needs to know it.
type Call struct {
	Environ  []string // NAME=VALUE, of whoever called
	Instance string   // the resource's id
	PID      int      // of the process that was called
}

// New writes to stderr, for a person in plain words and for a cluster manager in the
// form of ocf_log, and then to the journal as well, with the fields as journal fields.
func New(c Call, stderr io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(stderr)
	if debug := ocf.Variable(c.Environ, "HA_debug", "0"); debug != "0" {
		log.SetLevel(logrus.DebugLevel)
	}
	if !slices.ContainsFunc(managers, func(name string) bool { return ocf.Variable(c.Environ, name, "") != "" }) {
		log.SetFormatter(plainFormat{})
		return log
	}
	log.SetFormatter(ocfFormat{fmt.Sprintf("Domain(%s)[%d]", c.Instance, c.PID)})
	if journal.Enabled() {
		log.AddHook(journalHook{c.Instance})
	}
	return log
}

// plainFormat is for a person at a terminal.
type plainFormat struct{}

// Format implements logrus.Formatter.
func (plainFormat) Format(e *logrus.Entry) ([]byte, error) {
	return fmt.Appendf(nil, "%s: %s: %s\n", program, e.Level, line(e)), nil
}

// ocfFormat is the form of ocf_log: tag, date, level in capitals.
type ocfFormat struct{ tag string }

// Format implements logrus.Formatter.
func (f ocfFormat) Format(e *logrus.Entry) ([]byte, error) {
	level := strings.ToUpper(e.Level.String())
	return fmt.Appendf(nil, "%s:\t%s %s: %s\n", f.tag, e.Time.Format("2006/01/02_15:04:05"), level, line(e)), nil
}

// line is the message, the cause, and the fields in the order of their names.
func line(e *logrus.Entry) string {
	var b strings.Builder
	b.WriteString(e.Message)
	if err, ok := e.Data[logrus.ErrorKey]; ok {
		fmt.Fprintf(&b, ": %v", err)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		if key != logrus.ErrorKey {
			fmt.Fprintf(&b, " %s=%v", key, e.Data[key])
		}
	}
	return ocf.OneLine(b.String())
}

// journalHook copies entries to the journal.
type journalHook struct{ instance string }

// Levels implements logrus.Hook.
func (journalHook) Levels() []logrus.Level { return logrus.AllLevels }

var priorities = map[logrus.Level]journal.Priority{
	logrus.ErrorLevel: journal.PriErr,
	logrus.WarnLevel:  journal.PriWarning,
	logrus.InfoLevel:  journal.PriInfo,
	logrus.DebugLevel: journal.PriDebug,
}

// Fire implements logrus.Hook. The journal may be full or gone: that is no reason
// to disturb the action, and the line is on stderr too.
func (h journalHook) Fire(e *logrus.Entry) error {
	_ = journal.Send(line(e), priorities[e.Level], journalFields(e, h.instance))
	return nil
}

func journalFields(e *logrus.Entry, instance string) map[string]string {
	fields := map[string]string{"SYSLOG_IDENTIFIER": program, "VMFERRY_RESOURCE": instance}
	for key, value := range e.Data {
		fields["VMFERRY_"+strings.ToUpper(key)] = ocf.OneLine(fmt.Sprint(value))
	}
	return fields
}
