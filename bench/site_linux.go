package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// site is where one subject is set up: hosts, each a network namespace, the
// programs that run on them, and a directory. close removes all of it.
type site struct {
	ctx        context.Context
	dir        string
	congestion string // of TCP, inside the tunnel and on the wire
	tmelink    string // the program
	real       bool   // the wire carries real segments, see outer
	hosts      []host
	processes  []*process
}

// host is the name of a network namespace.
type host string

// hostPrefix begins the names of all hosts; the process id of the bench follows.
const hostPrefix = "bench-"

func newSite(ctx context.Context, tmelink, congestion string) (*site, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	return &site{ctx: ctx, dir: dir, congestion: congestion, tmelink: tmelink}, nil
}

// close ends what was started and removes what was made, also when the context
// is over.
func (s *site) close() error {
	var errs []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].stop()
	}
	for _, h := range s.hosts {
		errs = append(errs, command(context.Background(), "ip", "netns", "del", string(h)))
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// host makes a host with loopback up.
func (s *site) host(name string) (host, error) {
	h := host(fmt.Sprintf("%s%d-%s", hostPrefix, os.Getpid(), name))
	// Not to be interrupted half-way, or nobody would know that it is there.
	if err := command(context.Background(), "ip", "netns", "add", string(h)); err != nil {
		return "", err
	}
	s.hosts = append(s.hosts, h)
	if err := s.ip(h, "link set lo up"); err != nil {
		return "", err
	}
	return h, nil
}

// threeHosts makes hosts a and b and a third one between or beside them.
func (s *site) threeHosts(third string) (a, b, c host, err error) {
	for _, h := range []struct {
		host *host
		name string
	}{{&a, "a"}, {&b, "b"}, {&c, third}} {
		if *h.host, err = s.host(h.name); err != nil {
			return a, b, c, err
		}
	}
	return a, b, c, nil
}

// cable joins two hosts by a veth pair, both ends up and named dev; an address
// may be empty.
func (s *site) cable(a host, devA, addrA string, b host, devB, addrB string) error {
	if err := s.ip(a, "link add "+devA+" type veth peer name "+devB+" netns "+string(b)); err != nil {
		return err
	}
	for _, end := range []struct {
		h         host
		dev, addr string
	}{{a, devA, addrA}, {b, devB, addrB}} {
		if end.addr != "" {
			if err := s.ip(end.h, "addr add "+end.addr+"/24 dev "+end.dev); err != nil {
				return err
			}
		}
		if err := s.ip(end.h, "link set "+end.dev+" up"); err != nil {
			return err
		}
	}
	return nil
}

// ip runs ip(8) on a host.
func (s *site) ip(h host, args string) error {
	return command(s.ctx, "ip", append([]string{"-n", string(h)}, strings.Fields(args)...)...)
}

// run runs a program on a host to its end, and gives what it wrote to standard
// output, also if it failed.
func (s *site) run(h host, d time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, d)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", string(h)}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = ownGroup()
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case s.ctx.Err() != nil:
		return out.String(), s.ctx.Err()
	case ctx.Err() != nil:
		err = fmt.Errorf("not done within %v", d)
	}
	return out.String(), fmt.Errorf("%s: %w%s", strings.Join(args, " "), err, said(errOut.String()))
}

// write makes a file in the site's directory.
func (s *site) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// process is a program that goes on running.
type process struct {
	args  []string
	cmd   *exec.Cmd
	stdin io.Closer
	out   output
	done  chan struct{}
	err   error
}

// start starts a program on a host.
func (s *site) start(h host, args ...string) (*process, error) {
	p := &process{args: args, done: make(chan struct{})}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", string(h)}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = ownGroup()
	// Programs of Go report their garbage collections (runtime's documentation).
	p.cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1", "LC_ALL=C", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1")
	// vde_switch ends when its standard input does.
	stdin, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	p.stdin = stdin
	s.processes = append(s.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ownGroup keeps a terminal's Ctrl-C from the children, which are ended in
// order, and has them end with a bench that was killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// stop ends it with SIGTERM, and after 3 s with SIGKILL.
func (p *process) stop() {
	p.stdin.Close()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// ended is an error if the process is no longer there.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v%s", p.args[0], p.err, said(p.out.String()))
	default:
		return nil
	}
}

// expect waits until the process has written text, at most d.
func (p *process) expect(ctx context.Context, text string, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		if strings.Contains(p.out.String(), text) {
			return nil
		}
		if err := p.ended(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s did not say %q within %v%s", p.args[0], text, d, said(p.out.String()))
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// cpu is the processor time of the process until now, in seconds.
func (p *process) cpu() (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStat(string(text))
}

// output keeps the last of what a program writes, and counts its garbage
// collections: lines that begin with "gc ". The zero output is empty.
type output struct {
	mu          sync.Mutex
	last        []byte
	collections int
	inLine      bool
}

const outputKept = 64 << 10

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range bytes.Lines(text) {
		// A line comes in pieces, of which "gc " is the first.
		if !o.inLine && bytes.HasPrefix(line, []byte("gc ")) {
			o.collections++
		}
		o.inLine = line[len(line)-1] != '\n'
	}
	o.last = append(o.last, text...)
	if over := len(o.last) - outputKept; over > 0 {
		o.last = append(o.last[:0], o.last[over:]...)
	}
	return len(text), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.last)
}

func (o *output) gcs() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.collections
}

// command runs a program to its end, at most 10 s.
func command(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = ownGroup()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w%s", name, strings.Join(args, " "), err, said(string(out)))
	}
	return nil
}

// said is the end of what a program wrote, for an error.
func said(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	const most = 600
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return "; it said: " + strings.ReplaceAll(text, "\n", " / ")
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// removeLeftHosts removes the hosts of benches that were killed.
func removeLeftHosts(ctx context.Context) error {
	names, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range names {
		rest, ours := strings.CutPrefix(entry.Name(), hostPrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); !ours || err != nil || syscall.Kill(n, 0) != syscall.ESRCH {
			continue
		}
		if err := command(ctx, "ip", "netns", "del", entry.Name()); err != nil {
			return err
		}
	}
	return nil
}
