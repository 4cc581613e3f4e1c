package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"tmelink/internal/transport/unixsock"
)

// ownPrefix begins the names of the sockets that an element makes beside another
// program's, to have something to be answered at.
const ownPrefix = ".tmelink-"

// owns counts the sockets of this process, so that each has a name of its own.
var owns atomic.Int64

// openOwn makes such a socket in a folder, or where that may not be in the one for
// temporary files, and gives its path.
func (b *base) openOwn(folder string, c unixsock.DatagramConfig) (*unixsock.Datagrams, string, error) {
	c.Config = unixsock.Config{MaxFrame: b.port.maxFrame, Counters: &b.port.counters}
	c.Mode, c.Log = 0o600, b.log
	for _, in := range []string{folder, os.TempDir()} {
		for {
			c.Local = filepath.Join(in, fmt.Sprintf("%s%d-%d", ownPrefix, os.Getpid(), owns.Add(1)))
			if unixsock.CheckPath(c.Local) != nil {
				break
			}
			data, err := unixsock.OpenDatagrams(c)
			switch {
			case err == nil:
				return data, c.Local, nil
			case errors.Is(err, unixsock.ErrInUse): // by a process of another namespace
				continue
			case in == folder && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS):
				return nil, "", err
			}
			break
		}
	}
	return nil, "", fmt.Errorf("there is no room for the element's own socket, neither in %s nor in %s: give this user the right to write there, or set TMPDIR to a folder with a short name", folder, os.TempDir())
}
