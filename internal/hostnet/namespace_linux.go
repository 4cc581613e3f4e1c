package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where `ip netns` keeps its names (ip-netns(8)).
const netnsDir = "/run/netns"

// Namespace is a network namespace of this host: the one that the process runs
// in, or one that `ip netns` made.
type Namespace struct {
	name    string // "" is the process's own
	file    *os.File
	netlink *netlink.Handle
}

// OpenNamespace opens the namespace of a name, or the process's own for "".
func OpenNamespace(name string) (*Namespace, error) {
	path := "/proc/thread-self/ns/net"
	if name != "" {
		path = filepath.Join(netnsDir, name)
	}
	file, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && name != "":
		return nil, fmt.Errorf("open network namespace %q: there is none of that name; make it with `ip netns add %s`", name, name)
	case err != nil:
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	n := &Namespace{name: name, file: file}
	at := netns.None()
	if name != "" {
		at = netns.NsHandle(file.Fd())
	}
	if n.netlink, err = netlink.NewHandleAt(at, unix.NETLINK_ROUTE); err != nil {
		file.Close()
		return nil, fmt.Errorf("open netlink in network namespace %q: %w", name, explain(err))
	}
	return n, nil
}

// Close gives the namespace's descriptors back.
func (n *Namespace) Close() error {
	n.netlink.Close()
	return n.file.Close()
}

// Do calls fn on a thread that is in the namespace: descriptors opened and
// programs started by fn belong there.
func (n *Namespace) Do(fn func() error) error {
	if n.name == "" {
		return fn()
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %q: %w", n.name, explain(err))
	}
	defer func() {
		// A thread that cannot go home stays locked, so that the runtime
		// ends it with its goroutine and nobody else runs on it.
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// nft gives a connection to the namespace's nftables. It holds no descriptor
// between two calls.
func (n *Namespace) nft() (*nftables.Conn, error) {
	if n.name == "" {
		return nftables.New()
	}
	return nftables.New(nftables.WithNetNSFd(int(n.file.Fd())))
}

// lockPatience bounds the wait for another process that works on the namespace.
const lockPatience = 10 * time.Second

// lock keeps other processes and other Namespaces of this process from changing
// the namespace's tables and switches at the same time. The lock is one on the
// namespace itself (flock(2) on its file), so it ends with its holder.
func (n *Namespace) lock(ctx context.Context) (unlock func(), err error) {
	end := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(n.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { unix.Flock(int(n.file.Fd()), unix.LOCK_UN) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("lock the network namespace: %w", err)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("lock the network namespace: another process has held it for %v; lslocks shows which one", lockPatience)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// explain says what to do about a missing privilege.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (this needs the capability CAP_NET_ADMIN: run it with sudo, or give it to the program with `setcap cap_net_admin+ep PROGRAM`)", err)
	}
	return err
}
