//go:build unix

package emulator

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// unblocked gives second descriptors of two files, which do not block, so that
// whoever waits in them can be woken. That they do not is a property of what is
// open and not of the descriptor: restore gives it back, also to the other
// processes that have it.
func unblocked(in, out *os.File) (newIn, newOut *os.File, restore func(), err error) {
	var made []*os.File
	var undo []func()
	restore = func() {
		for _, f := range undo {
			f()
		}
	}
	for _, f := range []*os.File{in, out} {
		file, back, err := nonblocking(f)
		if err != nil {
			for _, m := range made {
				m.Close()
			}
			restore()
			return nil, nil, nil, err
		}
		made, undo = append(made, file), append([]func(){back}, undo...)
	}
	return made[0], made[1], restore, nil
}

func nonblocking(f *os.File) (file *os.File, back func(), err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return nil, nil, fmt.Errorf("%s is neither a pipe nor a socket (%v): start tmelink by dpipe, socat or ssh, so that it is one", f.Name(), info.Mode())
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var fault error
	err = raw.Control(func(fd uintptr) {
		var flags, second int
		if flags, fault = unix.FcntlInt(fd, unix.F_GETFL, 0); fault != nil {
			return
		}
		if second, fault = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3); fault != nil {
			return
		}
		if fault = syscall.SetNonblock(second, true); fault != nil {
			syscall.Close(second)
			return
		}
		file = os.NewFile(uintptr(second), f.Name())
		back = func() {
			if flags&unix.O_NONBLOCK == 0 {
				raw.Control(func(fd uintptr) { syscall.SetNonblock(int(fd), false) })
			}
		}
	})
	return file, back, errors.Join(err, fault)
}
