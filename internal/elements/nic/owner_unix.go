//go:build unix

package nic

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs says whether a folder is this user's.
func ownedByUs(folder fs.FileInfo) bool {
	owner, ok := folder.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}
