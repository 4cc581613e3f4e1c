package nic

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// Sockets is the folder with the sockets of interfaces of which the description
// says nothing, machine/element.sock: below the user's own runtime folder (XDG Base
// Directory Specification), or where there is none in the one for temporary files,
// with the user's number. It need not exist.
func Sockets() string {
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		return filepath.Join(runtime, "tmelink")
	}
	return filepath.Join(os.TempDir(), "tmelink-"+strconv.Itoa(os.Geteuid()))
}

// socketPath is the path of an interface's socket. Names are escaped, so that each
// is the name of one file.
func socketPath(machine, element string) (string, error) {
	if machine == "." || machine == ".." || machine == "" {
		return "", fmt.Errorf("%q cannot be a folder's name", machine)
	}
	return filepath.Join(Sockets(), url.PathEscape(machine), url.PathEscape(element)+".sock"), nil
}

// makePrivate makes the folders of a socket, for nobody but this user.
func makePrivate(socket string) error {
	machine := filepath.Dir(socket)
	ours := filepath.Dir(machine)
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		if err := checkPrivate(runtime); err != nil {
			return err
		}
	}
	for _, folder := range []string{ours, machine} {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := checkPrivate(folder); err != nil {
			return err
		}
	}
	return nil
}

// checkPrivate says why a folder is not this user's alone.
func checkPrivate(folder string) error {
	info, err := os.Lstat(folder)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder (%v): remove it, or set XDG_RUNTIME_DIR to a folder of this user's", folder, info.Mode())
	case info.Mode().Perm()&0o022 != 0 || !ownedByUs(info):
		return fmt.Errorf("%s is not this user's alone (%v): set XDG_RUNTIME_DIR to a folder that is", folder, info.Mode())
	}
	return nil
}
