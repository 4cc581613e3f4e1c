package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// file is a socket's name in the file system. Who made it removes it; the kernel
// leaves it when a process ends.
type file struct {
	path string
	info fs.FileInfo // as it was made

	removing sync.Once
	err      error
}

// ErrInUse is the error of a path where another socket is alive.
var ErrInUse = errors.New("another program has its socket there; stop it, or choose another path")

// making is held while a file is made: of two elements that find the same dead
// socket, the second must not take the first one's away.
var making sync.Mutex

// makeFile has bind make the socket at a path, after removing a dead socket from
// there, and gives it its permissions. Where it fails, the caller closes what
// bind has opened.
func makeFile(network, path string, mode fs.FileMode, bind func() error) (*file, error) {
	making.Lock()
	defer making.Unlock()
	err := bind()
	if errors.Is(err, errAddrInUse) {
		if err := removeDead(network, path); err != nil {
			return nil, err
		}
		err = bind()
	}
	if err != nil {
		return nil, withoutAddress(err)
	}
	f := &file{path: path}
	if f.info, err = os.Lstat(path); err == nil {
		err = setMode(path, mode)
	}
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return f, nil
}

// remove removes the file, unless another program has put its own in its place.
// It comes before the socket is closed: as long as that is open, no other file
// has the same number.
func (f *file) remove() error {
	f.removing.Do(func() {
		now, err := os.Lstat(f.path)
		if err != nil || !os.SameFile(now, f.info) {
			return
		}
		if err := os.Remove(f.path); !errors.Is(err, fs.ErrNotExist) {
			f.err = err
		}
	})
	return f.err
}

// removeDead removes a socket that nobody has open any more, and nothing else.
func removeDead(network, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is a file already that is no socket (%s); choose another path", info.Mode())
	}
	if alive(network, path) {
		return ErrInUse
	}
	return os.Remove(path)
}

// alive says whether somebody has the socket at a path open, also one of another
// kind, busy, or not for us.
func alive(network, path string) bool {
	conn, err := net.DialUnix(network, nil, &net.UnixAddr{Net: network, Name: path})
	if err == nil {
		conn.Close()
	}
	return !Absent(err)
}

// Sweep removes dead datagram sockets whose names begin with prefix from a
// folder: what a killed process has left there.
func Sweep(folder, prefix string) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && e.Type() == fs.ModeSocket {
			removeDead("unixgram", filepath.Join(folder, e.Name()))
		}
	}
}

// CheckFolder says what is wrong with the folder of a socket: others than its
// owner and its group may put another in its place.
func CheckFolder(path string) error {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	if err != nil || !othersMayReplace(info) {
		return nil // that it is not there is the kernel's to say
	}
	return fmt.Errorf("everybody may write to %s (%s), and so put another socket in the place of this one: choose another folder, or take that right away (chmod o-w %s)", folder, info.Mode(), folder)
}
