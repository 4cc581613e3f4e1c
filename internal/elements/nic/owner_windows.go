package nic

import "io/fs"

// ownedByUs: whose a folder is is not looked at here, so that none is taken for
// this user's alone.
func ownedByUs(fs.FileInfo) bool { return false }
