package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/transport/unixsock"
)

// begin checks what no waiting would mend, and lets the keeper look for the switch.
func (p *Plug) begin() error {
	folder, err := filepath.Abs(p.config.folder.text) // the switch has another working folder
	if err != nil {
		return fmt.Errorf("find the folder of the switch: %w", err)
	}
	gid, err := groupID(p.config.group)
	if err != nil {
		return err
	}
	p.running.Go(func() { p.keep(folder, gid) })
	return nil
}

// groupID gives the number of a group; -1 for none.
func groupID(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: this host has no such group; name one that the switch's user is in", name)
	}
	return strconv.Atoi(g.Gid)
}

// keep plugs in whenever there is a switch.
func (p *Plug) keep(folder string, gid int) {
	unixsock.Sweep(folder, ownPrefix)
	for said := ""; ; {
		plugged, err := p.plugIn(folder, gid)
		if p.ctx.Err() != nil {
			return
		}
		if plugged {
			said = ""
		}
		if err != nil && kind(err) != said {
			said = kind(err)
			p.log.Warn("not plugged in", "err", err, "again", p.retry)
		}
		if !sleep(p.ctx, p.retry) {
			return
		}
	}
}

// plugIn lets frames flow to the switch until it ends, which it says by closing
// the connection over which it was asked.
func (p *Plug) plugIn(folder string, gid int) (plugged bool, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(folder, "ctl"))
	if err != nil {
		return false, fmt.Errorf("no switch at %s: %w", folder, reason(err))
	}
	defer conn.Close()
	defer context.AfterFunc(p.ctx, func() { conn.Close() })()
	data, local, err := p.openOwn(folder, unixsock.DatagramConfig{MinFrame: ethernet.MinFrame})
	if err != nil {
		return false, err
	}
	defer data.Close()
	if err := admitSwitch(local, filepath.Join(folder, "ctl"), gid); err != nil {
		return false, err
	}
	remote, err := p.ask(conn, local)
	if err != nil {
		return false, fmt.Errorf("ask the switch at %s for a port: %w", folder, err)
	}
	if err := data.Connect(remote); err != nil {
		return false, err
	}
	l := newLine(data, remote)
	p.log.Info("plugged in", "peer", remote)
	if err := p.port.publish(l); err != nil {
		return true, err
	}
	conn.SetDeadline(time.Time{})
	io.Copy(io.Discard, conn)
	p.port.lose(l, unixsock.ErrGone)
	return true, nil
}

// admitSwitch lets the switch send to our socket, where it runs as another user:
// by making it that user's, or its group's. Where we may not, everybody may send
// until the socket is connected, and then, by the kernel, nobody but the switch.
func admitSwitch(local, ctl string, gid int) error {
	if gid >= 0 {
		if err := os.Chown(local, -1, gid); err != nil {
			return fmt.Errorf("give %s to group %d: %w", local, gid, err)
		}
		return os.Chmod(local, 0o660)
	}
	info, err := os.Stat(ctl)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	if os.Chown(local, int(owner.Uid), int(owner.Gid)) == nil {
		return nil
	}
	if os.Chown(local, -1, int(owner.Gid)) == nil {
		return os.Chmod(local, 0o660)
	}
	return os.Chmod(local, 0o666)
}

// ask tells the switch of our socket, and gives the path of its own.
func (p *Plug) ask(conn net.Conn, local string) (string, error) {
	conn.SetDeadline(time.Now().Add(p.timeout))
	if _, err := conn.Write(plugRequest(p.config.port, local, p.description)); err != nil {
		return "", reason(err)
	}
	answer := make([]byte, sockaddrLen)
	_, err := io.ReadFull(conn, answer)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "", errors.New("it refuses: it has no such port, the port is another user's, or it may not use our socket (see group)")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", fmt.Errorf("it does not answer within %v", p.timeout)
	case err != nil:
		return "", reason(err)
	}
	return plugAnswer(answer)
}

// reason leaves out of an error of package net what its caller says better.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
