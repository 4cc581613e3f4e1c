package tap

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"

	"tmelink/internal/element"
	"tmelink/internal/nstest"
)

// A test that kills a process, or needs another user's, runs this test binary
// again as a process that holds one element, whose type and words are in these
// variables, until SIGTERM.
const (
	childType  = "TMELINK_TAP_CHILD_TYPE"
	childWords = "TMELINK_TAP_CHILD_WORDS"
)

func runAsChild() bool {
	path := os.Getenv(childType)
	if path == "" {
		return false
	}
	if err := beChild(path, os.Getenv(childWords)); err != nil {
		fmt.Println("child:", err)
		os.Exit(1)
	}
	return true
}

func beChild(path, text string) error {
	typ, _ := element.Lookup(path)
	e, err := typ.New(element.Env{Dir: "/", Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}, words(text))
	if err != nil {
		return err
	}
	port, err := e.Attach(element.Args{})
	if err != nil {
		return err
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	if err := e.Start(context.Background()); err != nil {
		e.Close()
		return err
	}
	go func() {
		for {
			frames, err := port.ReadFrames()
			if err != nil {
				return
			}
			fmt.Println("frames:", len(frames))
		}
	}()
	fmt.Println("ready:", e.(element.Reporter).Status())
	<-terminated
	return e.Close()
}

// child starts a process that holds an element, by way of a program such as
// setpriv with its arguments, and does not wait until it is ready.
func child(t *testing.T, path, text string, by ...string) *nstest.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append([]string{childType + "=" + path, childWords + "=" + text}, by...)
	return nstest.Start(t, "env", append(argv, self)...)
}
