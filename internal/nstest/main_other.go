//go:build !linux

package nstest

import (
	"os"
	"syscall"
	"testing"
)

// Main runs the tests where they are: network namespaces are Linux's.
func Main(m *testing.M) { os.Exit(m.Run()) }

// InNamespace skips the test.
func InNamespace(t testing.TB) {
	t.Helper()
	t.Skip("skipped: network namespaces are Linux's")
}

func endWithParent() *syscall.SysProcAttr { return nil }
