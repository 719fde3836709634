package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
)

// pluginName is this program's name among Heartbeat's STONITH plugins: external/vmferry of cluster-glue.
const pluginName = "vmferry"

const pluginUsage = `usage: vmferry off|reset|on NODE
       vmferry gethosts|status|getconfignames|getinfo-devid|getinfo-devname|getinfo-devdescr|getinfo-devurl|getinfo-xml

Heartbeat's STONITH plugin external/vmferry. In ha.cf: stonith_host * external/vmferry
`

// facts are the answers that need no guard. The plugin has no parameters: the guard knows the nodes.
var facts = map[string]string{
	"getconfignames":   "\n",
	"getinfo-devid":    "vmferry guard\n",
	"getinfo-devname":  "vmferry guard of this node\n",
	"getinfo-devdescr": "Proves that a node runs no guest and cannot write, without a power switch (version VERSION)\n",
	"getinfo-devurl":   "https://github.com/vmferry/vmferry\n",
	"getinfo-xml":      "<parameters></parameters>\n",
}

// plugin does one action of a STONITH plugin. A reset that fails is repeated by Heartbeat after five seconds, for ever.
func plugin(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	o := options{socket: control.Socket, verbose: true}
	if socket := os.Getenv("socket"); socket != "" { // parameters come as environment variables
		o.socket = socket
	}
	code, err := pluginAction(ctx, o, args, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "external/vmferry: %v\n", err)
	}
	return code
}

func pluginAction(ctx context.Context, o options, args []string, stdout, stderr io.Writer) (code int, err error) {
	if len(args) == 1 {
		if text, ok := facts[args[0]]; ok {
			_, err := io.WriteString(stdout, versioned(text))
			return exitOK, err
		}
	}
	switch {
	case len(args) == 2 && (args[0] == "off" || args[0] == "reset"):
		o.node = args[1]
		err = fence(ctx, o, stderr)
	case len(args) == 2 && args[0] == "on":
		o.node = args[1]
		err = open(ctx, o)
	case len(args) == 1 && args[0] == "gethosts":
		err = hosts(ctx, o, stdout)
	case len(args) == 1 && args[0] == "status":
		_, err = status(ctx, o)
	default:
		fmt.Fprint(stderr, pluginUsage)
		return exitFail, nil
	}
	if err != nil {
		return exitFail, err
	}
	return exitOK, nil
}

// hosts prints the nodes, one a line.
func hosts(ctx context.Context, o options, stdout io.Writer) error {
	report, err := status(ctx, o)
	if err != nil {
		return err
	}
	for _, n := range report.Nodes {
		fmt.Fprintln(stdout, n.Name)
	}
	return nil
}
