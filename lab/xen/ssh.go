package xen

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/node"
)

// masters is where the connections lie over which commands go. /run is the lab's
// own, and its name is short enough for a socket.
const masters = "/run/vmferry-lab"

// Login is the ssh_config(5) file by which [Command] reaches the machines.
func (h Host) Login() string { return filepath.Join(h.ssh(), "config") }

// clientConfig is that file. The first command makes a connection to the
// machine and the next ones share it; a machine that does not answer is given
// up quickly, one that is only slow is not.
func clientConfig(nodes []node.Spec, dir string) string {
	var text strings.Builder
	for _, spec := range nodes {
		fmt.Fprintf(&text, "Host %s\n\tHostName %s\n", spec.Name, managementOf(spec))
	}
	fmt.Fprintf(&text, `Host *
	User root
	IdentityFile "%s"
	IdentitiesOnly yes
	BatchMode yes
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	LogLevel ERROR
	SetEnv LANG=C.UTF-8
	ConnectTimeout 10
	ServerAliveInterval 10
	ServerAliveCountMax 6
	ControlMaster auto
	ControlPersist yes
	ControlPath %s/%%n
`, filepath.Join(dir, keyFile), masters)
	return text.String()
}

// Command is a command to be run in domain 0 of the named machine, with the
// environment of a root login. config is what [Host.Login] says. ctx ends the wait
// for it; the program itself learns of that when it next writes.
func Command(ctx context.Context, config, name, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ssh", "-F", config, name, "--", "exec "+quote(append([]string{program}, args...)))
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Shell is an interactive root shell in domain 0 of the named machine.
func Shell(ctx context.Context, config, name string) *exec.Cmd {
	return exec.CommandContext(ctx, "ssh", "-F", config, "-t", name)
}

// quote makes of an argument list the text that a POSIX shell takes for just that
// list: sshd gives the command to the shell of the account.
func quote(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// hangUp ends the shared connection to a machine that is off: nobody will ever
// answer on it, and the next command must make a new one.
func (h Host) hangUp(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = exec.CommandContext(ctx, "ssh", "-F", h.Login(), "-O", "exit", name).Run() // there may be none
}

// keyFile is the private key of root's on all machines and of the lab's.
const keyFile = "key"

// keyPair is one, as the files of ssh-keygen(1) have it.
type keyPair struct{ private, public string }

// makeKey makes a key pair in the folder dir, which is made too.
func makeKey(ctx context.Context, dir string) (keyPair, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keyPair{}, fmt.Errorf("make the folder of the lab's key: %w", err)
	}
	path := filepath.Join(dir, keyFile)
	out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vmferry-lab", "-f",
		path).CombinedOutput()
	if err != nil {
		return keyPair{}, fmt.Errorf("make the lab's key: %w: %s", err, out)
	}
	private, err := os.ReadFile(path)
	if err != nil {
		return keyPair{}, err
	}
	public, err := os.ReadFile(path + ".pub")
	return keyPair{string(private), string(public)}, err
}
