//go:build unix

package vale

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// runtimeFolder is where the processes of a user meet, and nobody else may be.
func runtimeFolder() (string, error) {
	folder := os.Getenv("XDG_RUNTIME_DIR")
	switch {
	case folder != "":
		folder = filepath.Join(folder, "tmelink")
	case os.Geteuid() == 0:
		folder = "/run/tmelink"
	default:
		folder = filepath.Join(os.TempDir(), fmt.Sprintf("tmelink-%d", os.Geteuid()))
	}
	return folder, private(folder)
}

// private makes a folder of the user's own, or says what is wrong with the one
// that is there.
func private(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no folder; remove it", folder)
	case !ok || int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("%s is another user's; remove it, or set XDG_RUNTIME_DIR", folder)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others may enter %s: chmod 700 %s", folder, folder)
	}
	return nil
}
