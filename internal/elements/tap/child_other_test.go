//go:build !linux

package tap

func runAsChild() bool { return false }
