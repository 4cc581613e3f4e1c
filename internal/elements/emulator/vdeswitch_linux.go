package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/transport/unixsock"
)

// begin makes the folder and lets clients in.
func (s *VDESwitch) begin() error {
	folder, err := filepath.Abs(s.config.folder.text) // clients have another working folder
	if err != nil {
		return fmt.Errorf("find the folder of the switch: %w", err)
	}
	s.config.folder.text = folder
	gid, err := groupID(s.config.group)
	if err != nil {
		return err
	}
	left, err := s.makeFolder()
	if err != nil {
		return fmt.Errorf("make the switch %s: %w", folder, err)
	}
	ctl := filepath.Join(folder, "ctl")
	// Nobody may connect before the socket has its group.
	if s.listener, err = unixsock.Listen(unixsock.Address{Network: "unix", Text: ctl}, 0o600, unixsock.Config{}); err != nil {
		return fmt.Errorf("make the switch %s: %w", folder, err)
	}
	unixsock.Sweep(folder, "")
	s.made = s.made || left
	perm := s.config.perm()
	err = s.admit(ctl, gid, perm)
	if err == nil && s.made {
		err = s.admit(folder, gid, folderMode(perm))
	}
	if err != nil {
		return fmt.Errorf("make the switch %s: %w", folder, err)
	}
	s.log.Info("switch at " + folder)
	s.running.Go(func() { s.accept(gid) })
	return nil
}

// makeFolder makes the folder, or takes over one that has nothing but sockets in
// it, and says whether a switch has left it.
func (s *VDESwitch) makeFolder() (left bool, err error) {
	folder := s.config.folder.text
	if err = os.Mkdir(folder, 0o700); err == nil {
		s.made = true
		return false, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	info, err := os.Lstat(folder)
	if err != nil {
		return false, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return false, errors.New("there is something already that is no folder; choose another path")
	case !ok || int(owner.Uid) != os.Geteuid(): // who could put other files in the place of ours
		return false, errors.New("the folder is another user's; choose another path")
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Type() != fs.ModeSocket {
			return false, fmt.Errorf("there is a folder already with other files in it, such as %s; choose another path", e.Name())
		}
		left = left || e.Name() == "ctl"
	}
	return left, nil
}

// folderMode lets those who may use a socket find it and make their own beside it,
// and take away nobody else's.
func folderMode(perm fs.FileMode) fs.FileMode {
	return perm | perm&0o444>>2 | fs.ModeSticky
}

// admit gives a file its group and its permissions.
func (s *VDESwitch) admit(path string, gid int, perm fs.FileMode) error {
	if gid >= 0 {
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("give %s to group %d: %w", path, gid, reason(err))
		}
	}
	return os.Chmod(path, perm)
}

// accept takes one client after the other.
func (s *VDESwitch) accept(gid int) {
	for {
		conn, err := s.listener.AcceptConn()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptor is free, or the like
			s.turnAway(err)
			if !sleep(s.ctx, retryEvery) {
				return
			}
		case !s.enter(conn):
			conn.Close()
			s.turnAway(fmt.Errorf("there are %d already", maxClients))
		default:
			s.running.Go(func() { s.serve(conn.(*net.UnixConn), gid) })
		}
	}
}

// serve has a client in the switch until it closes the connection over which it
// asked for that.
func (s *VDESwitch) serve(conn *net.UnixConn, gid int) {
	defer s.leave(conn)
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(s.timeout))
	data, local, remote, err := s.plugIn(conn, gid)
	if err != nil {
		if s.ctx.Err() == nil {
			s.turnAway(err)
		}
		return
	}
	joined := s.Join(data, ethernet.FrameLen(s.config.mtu), &s.counters.Write)
	if _, err := conn.Write(address(local)); err == nil {
		s.log.Info("plugged in", "peer", remote, "port", filepath.Base(local))
		conn.SetDeadline(time.Time{})
		io.Copy(io.Discard, conn) // until the client goes, whatever it says
	}
	data.Close()
	if err := joined(); err != nil {
		s.log.Error("a client is lost", "peer", remote, "err", err)
	}
	if filepath.Dir(remote) == s.config.folder.text { // of a client that was killed
		unixsock.Sweep(s.config.folder.text, filepath.Base(remote))
	}
}

// plugIn hears what a client asks for, and makes the socket that it sends to.
func (s *VDESwitch) plugIn(conn *net.UnixConn, gid int) (data *unixsock.Datagrams, local, remote string, err error) {
	request := make([]byte, requestLen+descriptionLen)
	n, err := io.ReadAtLeast(conn, request, requestLen)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, "", "", fmt.Errorf("it asks for nothing within %v", s.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, "", "", errors.New("it has closed the connection before it asked for a port")
	case err != nil:
		return nil, "", "", reason(err)
	}
	asked, remote, err := parseRequest(request[:n])
	if err == nil {
		err = mayName(conn, remote)
	}
	if err != nil {
		return nil, "", "", err
	}
	port, err := s.take(conn, asked)
	if err != nil {
		return nil, "", "", err
	}
	local = filepath.Join(s.config.folder.text, fmt.Sprintf("%03d.%d", port, owns.Add(1)))
	data, err = unixsock.OpenDatagrams(unixsock.DatagramConfig{
		Config: unixsock.Config{MaxFrame: ethernet.FrameLen(s.config.mtu), Counters: &s.counters},
		Local:  local, Mode: 0o600, MinFrame: ethernet.MinFrame, Log: s.log,
	})
	if err != nil {
		return nil, "", "", err
	}
	if err = data.Connect(remote); err == nil {
		err = s.admit(local, gid, s.config.perm())
	}
	if err != nil {
		data.Close()
		return nil, "", "", err
	}
	return data, local, remote, nil
}

// mayName says whether a client may have frames sent to the socket at a path: to
// its own, unless it is root.
func mayName(conn *net.UnixConn, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket", path)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var who *unix.Ucred
	if e := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("ask who it is: %w", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); who.Uid != 0 && (!ok || owner.Uid != who.Uid) {
		return fmt.Errorf("%s belongs to another user than it, who is user %d", path, who.Uid)
	}
	return nil
}

// Close turns everybody away, and removes the folder if the switch has made it.
func (s *VDESwitch) Close() error {
	s.cancel()
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	errs = append(errs, s.Switch.Close())
	s.running.Wait()
	if s.made {
		s.made = false
		errs = append(errs, s.removeFolder())
	}
	return errors.Join(errs...)
}

// removeFolder removes the folder with the sockets that clients have in it, who do
// not remove them before they notice.
func (s *VDESwitch) removeFolder() error {
	folder := s.config.folder.text
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			os.Remove(filepath.Join(folder, e.Name()))
		}
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the switch: %w", err)
	}
	return nil
}
