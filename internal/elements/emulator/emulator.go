// Package emulator is the element types that plug tmelink into emulators and
// virtual switches by their sockets and pipes: tme/host/qemu, tme/host/gvproxy,
// tme/host/vde/plug and tme/host/stdio; and tme/host/vde/switch, into which they plug
// themselves.
//
// A connection's two goroutines read and write the element's port, which hands
// their batches to the socket of the moment (package unixsock) as they are: what
// an emulator takes and gives is finished frames, so nothing here looks into
// one. Where emulators come and go, a keeper goroutine makes one socket after
// the other and the port outlives them; frames for one that is away are counted
// and dropped. A switch has no such port: its clients' sockets are wires of a
// switch of package generic. Nothing of the host is changed but the sockets' own
// files and the switch's folder, which are removed at Close.
//
// port.go is the port; words.go what the types' options have in common; own.go the
// sockets that are not named there; each type or two of a kind have their file, and handshake.go what a plug and a vde_switch tell each
// other as bytes alone.
package emulator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// base is what the elements with one peer have in common.
type base struct {
	log     *slog.Logger
	port    *port
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (b *base) init(env element.Env, maxFrame int, peer string) {
	b.log, b.port = env.Log, newPort(maxFrame, peer, env.Log)
	b.ctx, b.cancel = context.WithCancel(context.Background())
}

// Attach gives the element's port. Its side of a connection has no arguments.
func (b *base) Attach(args element.Args) (ethernet.Port, error) {
	return b.port, args.Parse(nil)
}

// end ends the keeper and the port. What else there is, its element has closed
// before.
func (b *base) end() error {
	err := b.port.Close() // first, so that its reader and writer learn why
	b.cancel()
	b.running.Wait()
	return err
}

// sleep waits and says whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
