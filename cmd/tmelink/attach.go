package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tmelink/internal/elements/nic"
)

func newAttach() *cobra.Command {
	return &cobra.Command{
		Use:   "attach ELEMENT|PATH -- COMMAND [ARG…]",
		Short: "Start an emulator that is plugged into a machine's interface",
		Long: "Starts an emulator as COMMAND says, and gives it the network that a running tmelink has\n" +
			"for it: the interface ELEMENT of a description that says nothing of what is behind it,\n" +
			"also as MACHINE/ELEMENT where several machines have it, or the socket PATH, of `attach\n" +
			"qemu:unix:PATH` or of a tme/host/qemu/stream.\n\n" +
			"In the command's words %net becomes the value of QEMU's -netdev, whose id is tmelink,\n" +
			"and {} the path of the socket. Where neither stands anywhere, these are put behind it:\n\n" +
			"  -netdev stream,id=tmelink,server=off,addr.type=unix,addr.path=PATH -net nic,netdev=tmelink\n\n" +
			"tmelink waits for the emulator, passes SIGINT, SIGTERM and SIGHUP on to it, and exits\n" +
			"with its exit code, or with 128 and the number of the signal that ended it.",
		Example: "  tmelink attach le0 -- qemu-system-sparc -M SS-5 -hda disk.img\n" +
			"  tmelink attach /run/q0.sock -- qemu-system-x86_64 -netdev %net -device e1000,netdev=tmelink",
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("attach wants an element or the path of a socket, -- and a command")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return interfaces("*"), cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error {
			socket, err := findSocket(args[0])
			if err != nil {
				return failedError{err}
			}
			return emulate(withNetwork(args[1:], socket))
		},
	}
}

// interfaces are the names, as machine/element, of those that listen for an
// emulator by themselves; element may be "*".
func interfaces(element string) []string {
	found, _ := filepath.Glob(filepath.Join(nic.Sockets(), "*", element+".sock"))
	var names []string
	for _, path := range found {
		folder, file := filepath.Split(strings.TrimSuffix(path, ".sock"))
		machine, err := url.PathUnescape(filepath.Base(folder))
		name, err2 := url.PathUnescape(file)
		if err == nil && err2 == nil {
			names = append(names, machine+"/"+name)
		}
	}
	return names
}

// findSocket gives the path of the socket that an argument means.
func findSocket(what string) (string, error) {
	if info, err := os.Stat(what); err == nil && info.Mode().Type() == fs.ModeSocket {
		return what, nil
	}
	cut := strings.LastIndex(what, "/")
	if cut >= 0 {
		path := filepath.Join(nic.Sockets(), url.PathEscape(what[:cut]), url.PathEscape(what[cut+1:])+".sock")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	var names []string
	if cut < 0 && !strings.ContainsAny(what, `*?[\`) {
		names = interfaces(url.PathEscape(what))
	}
	switch len(names) {
	case 0:
		return "", fmt.Errorf("%s is neither a socket nor an interface that listens in %s: start the machine with tmelink run, or correct the name", what, nic.Sockets())
	case 1:
		return findSocket(names[0])
	}
	return "", fmt.Errorf("several machines have an interface %s: name one of %s", what, strings.Join(names, ", "))
}

// withNetwork puts the network into a command's words.
func withNetwork(command []string, socket string) []string {
	// A comma ends a value, unless there are two (qemu-options.hx of QEMU).
	netdev := "stream,id=tmelink,server=off,addr.type=unix,addr.path=" + strings.ReplaceAll(socket, ",", ",,")
	filled := []string{command[0]}
	for _, word := range command[1:] {
		filled = append(filled, strings.NewReplacer("%net", netdev, "{}", socket).Replace(word))
	}
	for i := range command {
		if filled[i] != command[i] {
			return filled
		}
	}
	return append(filled, "-netdev", netdev, "-net", "nic,netdev=tmelink")
}

// exitCode is that of a program that was started to its end, where it is not 0.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// emulate runs a command to its end.
func emulate(command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return failedError{fmt.Errorf("start the emulator: %w", err)}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			cmd.Process.Signal(s) // an error means that it has ended
		case err := <-ended:
			return howItEnded(err)
		}
	}
}

func howItEnded(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return failedError{err}
		}
		return nil
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitCode(128 + int(status.Signal()))
	}
	return exitCode(exit.ExitCode())
}
