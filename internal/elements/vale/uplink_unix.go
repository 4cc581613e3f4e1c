//go:build unix

package vale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/elements/generic"
	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/transport/unixsock"
)

// Theory of operation: who holds the lock on NAME.lock listens at NAME.sock, and
// nobody else touches that. The kernel ends the lock with its process, however that
// ends. The others try for the lock again and again while they have no connection:
// one gets it and listens, and the rest find it. The lock's file stays, because a
// lock on a file that somebody removes is a lock on nothing.

// lookEvery is the pause between two attempts to become or to find who listens.
const lookEvery = 100 * time.Millisecond

// maxProcesses bounds who is connected to the process that listens.
const maxProcesses = 64

// uplink joins a switch to those of the same name in other processes.
type uplink struct {
	sw       *generic.Switch
	lock     string // the paths; "" where there is no folder
	socket   string
	log      *slog.Logger
	counters ethernet.Counters
	role     atomic.Pointer[string]
	others   atomic.Int32 // connected to this process
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func startUplink(sw *generic.Switch, name string, log *slog.Logger) *uplink {
	folder, err := runtimeFolder()
	if err != nil {
		log.Warn("other processes do not share the switch "+name+": there is no folder to meet them in", "err", err)
	}
	u := &uplink{sw: sw, log: log}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.say("of this process alone")
	if err == nil {
		u.lock, u.socket = filepath.Join(folder, name+".lock"), filepath.Join(folder, name+".sock")
		u.running.Go(u.keep)
	}
	return u
}

func (u *uplink) say(role string) { u.role.Store(&role) }

// status says how other processes are reached.
func (u *uplink) status() string {
	if n := u.others.Load(); n > 0 {
		return fmt.Sprintf("%s, %d others", *u.role.Load(), n)
	}
	return *u.role.Load()
}

// stop ends the connections to other processes.
func (u *uplink) stop() {
	u.cancel()
	u.running.Wait()
}

// keep listens, or is connected to who does.
func (u *uplink) keep() {
	said := ""
	for u.ctx.Err() == nil {
		lock, err := u.tryLock()
		switch {
		case err == nil && lock != nil:
			err = u.listen()
			lock.Close()
		case err == nil:
			err = u.connect()
		}
		if u.ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			u.log.Warn("other processes are not reached", "err", err, "again", lookEvery)
		}
		if !u.sleep() {
			return
		}
	}
}

func (u *uplink) sleep() bool {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-u.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tryLock gives the lock's file, or nil where another process has it.
func (u *uplink) tryLock() (*os.File, error) {
	file, err := os.OpenFile(u.lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", u.lock, err)
	}
	return file, nil
}

func (u *uplink) socketConfig() unixsock.Config {
	return unixsock.Config{MaxFrame: ethernet.MaxFrameLen, Counters: &u.counters}
}

// connect is connected to the process that listens, until that ends.
func (u *uplink) connect() error {
	conn, err := unixsock.Dial(u.ctx, u.address(), u.socketConfig())
	if err != nil {
		if unixsock.Absent(err) { // it has the lock and begins to listen
			return nil
		}
		return err
	}
	defer context.AfterFunc(u.ctx, func() { conn.Close() })()
	u.log.Info("joined the switch of another process", "peer", conn.Peer())
	u.say("joined to that of another process")
	err = u.sw.Join(conn, ethernet.MaxFrameLen, &u.counters.Write)()
	u.say("of this process alone")
	if errors.Is(err, unixsock.ErrGone) {
		u.log.Info("the other process has left the switch", "peer", conn.Peer())
		return nil
	}
	return err
}

// listen lets other processes join, until the end.
func (u *uplink) listen() error {
	l, err := unixsock.Listen(u.address(), 0o600, u.socketConfig())
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(u.ctx, func() { l.Close() })()
	u.say("open to other processes")
	turned, lost := occasion.New(1, time.Minute), occasion.New(3, time.Minute)
	var telling sync.Mutex
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil: // no descriptor is free, or the like
			if n := turned.Due(time.Now()); n > 0 {
				u.log.Warn("another process cannot join", "err", err, "times", n)
			}
			if !u.sleep() {
				return nil
			}
			continue
		case u.others.Load() == maxProcesses:
			conn.Close()
			if n := turned.Due(time.Now()); n > 0 {
				u.log.Warn(fmt.Sprintf("another process cannot join: there are %d already", maxProcesses), "times", n)
			}
			continue
		}
		u.others.Add(1)
		wait := u.sw.Join(conn, ethernet.MaxFrameLen, &u.counters.Write)
		ended := context.AfterFunc(u.ctx, func() { conn.Close() })
		u.running.Go(func() {
			err := wait()
			ended()
			u.others.Add(-1)
			telling.Lock()
			defer telling.Unlock()
			if err != nil && !errors.Is(err, unixsock.ErrGone) {
				if n := lost.Due(time.Now()); n > 0 {
					u.log.Error("the connection to another process is lost", "peer", conn.Peer(), "err", err, "times", n)
				}
			}
		})
	}
}

// address is the socket's.
func (u *uplink) address() unixsock.Address {
	return unixsock.Address{Network: "unix", Text: u.socket}
}
