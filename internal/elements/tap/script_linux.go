package tap

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// scriptPatience bounds how long a script may hold up its machine. After it the
// script and all that it has started are killed.
const scriptPatience = time.Minute

// maxScriptOutput is how much of the end of a script's output an error shows.
const maxScriptOutput = 1000

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b[max(0, len(b)-maxScriptOutput):]...)
	*t = slices.Delete(*t, 0, max(0, len(*t)-maxScriptOutput))
	return len(b), nil
}

// runScript runs a script, if there is one, in the device's namespace and waits
// for it. kind is "up" or "down".
func (t *tap) runScript(ctx context.Context, kind string, argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, scriptPatience)
	defer cancel()
	// An absolute path: what has no slash would be looked for in $PATH, and
	// what is relative would count from cmd.Dir once more.
	dir, err := filepath.Abs(t.env.Dir)
	if err != nil {
		return fmt.Errorf("run the %s script: %w", kind, err)
	}
	program := argv[0]
	if !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	cmd := exec.CommandContext(ctx, program, append(argv[1:len(argv):len(argv)], t.scriptArgs()...)...)
	cmd.Dir, cmd.Env = dir, t.scriptEnv(kind)
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	// A process group of its own, so that what the script has started ends
	// with it; a grandchild that keeps its output open is not waited for.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := t.device.ns.Do(cmd.Start); err != nil {
		return fmt.Errorf("run the %s script: %w (it must be executable, and a script begins with #! and its interpreter)", kind, err)
	}
	err = cmd.Wait()
	said := strings.TrimSpace(string(output))
	switch {
	case err == nil:
		t.env.Log.Debug("script has run", "script", program, "said", said)
		return nil
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("it did not end within %v and was killed", scriptPatience)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	if said != "" {
		return fmt.Errorf("%s script %s: %w; it said: %s", kind, program, err, said)
	}
	return fmt.Errorf("%s script %s: %w", kind, program, err)
}

// scriptArgs are the interface's name; to a script of OpenVPN's option also the
// MTU, a 0 where the link MTU once was, the address, the netmask and "init"
// (OpenVPN manual, --up).
func (t *tap) scriptArgs() []string {
	name := t.device.tap.Name
	if !t.cfg.openvpn {
		return []string{name}
	}
	args := []string{name, strconv.Itoa(t.device.mtu), "0"}
	if t.cfg.inet.IsValid() {
		return append(args, t.cfg.inet.Addr().String(), netmask(t.cfg.inet.Bits()), "init")
	}
	return append(args, "", "", "init")
}

// scriptEnv is this process's environment; a script of OpenVPN's option has
// only the search path and OpenVPN's variables (OpenVPN manual, Environmental
// Variables).
func (t *tap) scriptEnv(kind string) []string {
	if !t.cfg.openvpn {
		return os.Environ()
	}
	c := &t.cfg
	env := []string{
		"PATH=" + os.Getenv("PATH"), "dev=" + t.device.tap.Name, "dev_type=tap",
		"tun_mtu=" + strconv.Itoa(t.device.mtu), "script_type=" + kind, "script_context=init",
	}
	if c.inet.IsValid() {
		env = append(env, "ifconfig_local="+c.inet.Addr().String(), "ifconfig_netmask="+netmask(c.inet.Bits()))
	}
	if c.inet6.IsValid() {
		remote := ""
		if c.remote6.IsValid() {
			remote = c.remote6.String()
		}
		env = append(env, "ifconfig_ipv6_local="+c.inet6.Addr().String(),
			"ifconfig_ipv6_netbits="+strconv.Itoa(c.inet6.Bits()), "ifconfig_ipv6_remote="+remote)
	}
	if kind == "down" {
		env = append(env, "signal=unknown") // an element is not told why it is closed
	}
	return env
}

// netmask writes a prefix length as a dotted netmask.
func netmask(bits int) string { return net.IP(net.CIDRMask(bits, 32)).String() }
