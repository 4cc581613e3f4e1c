package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/transport"
)

// scoutTime bounds how long one look at a better way may take, and scoutPoll is how
// often it is looked whether it has led to the peer.
const (
	scoutTime = 10 * time.Second
	scoutPoll = 20 * time.Millisecond
)

// scout looks now and then whether a better way than that of a circuit works again. It
// gives the circuit over the first that does; frames have not flown over it yet. stop
// ends the search, and what it has found unless that was taken.
func (l *Link) scout(c *circuit) (found <-chan *circuit, stop func()) {
	better := l.better(c.way)
	if len(better) == 0 {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(l.ctx)
	results := make(chan *circuit)
	var searching sync.WaitGroup
	searching.Go(func() {
		var failures failures
		for sleep(ctx, l.config.lookAgain) {
			for _, w := range better {
				next, err := l.explore(ctx, w)
				if ctx.Err() != nil && err != nil {
					return
				}
				if err != nil {
					failures.note(fmt.Errorf("%v: %w", w, err), time.Now())
					l.log.Log(ctx, failures.level(slog.LevelInfo), "a better way does not work yet", "way", w, "err", err, "again", l.config.lookAgain)
					continue
				}
				select {
				case results <- next:
				case <-ctx.Done():
					l.finish(next)
				}
				return
			}
		}
	})
	return results, func() {
		cancel()
		searching.Wait()
	}
}

// better are the ways that are preferred to one.
func (l *Link) better(w way) []way {
	c := l.config
	if c.random || c.lookAgain == 0 {
		return nil
	}
	return c.ways[:max(slices.Index(c.ways, w), 0)]
}

// errNotShown is why a way is not taken.
var errNotShown = errors.New("the peer has not shown itself")

// explore gives a circuit over a way if that leads to the peer.
func (l *Link) explore(ctx context.Context, w way) (*circuit, error) {
	limit := min(w.timeout, scoutTime)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it has not answered within %v", limit))
	defer cancel()
	t := newTour([]way{w})
	o, err := l.open(ctx, &t)
	if err != nil {
		return nil, err
	}
	o.level = slog.LevelDebug // it is done again and again
	c, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	l.beginTalk(c)
	if w.udp() && !l.config.security.tls() {
		l.greet(c)
	}
	if err := l.await(ctx, c); err != nil {
		l.finish(c)
		return nil, fmt.Errorf("%v: %w", c.peerName(), err)
	}
	return c, nil
}

// await waits until a circuit has led to the peer. Frames that come meanwhile are
// dropped: they come over the present way too, or their senders have not been told.
func (l *Link) await(ctx context.Context, c *circuit) error {
	reading := make(chan error, 1)
	go func() {
		for {
			packets, err := c.conn.ReadPackets()
			if err != nil {
				reading <- err
				return
			}
			l.dropFrames(c, packets)
		}
	}()
	poll := time.NewTicker(scoutPoll)
	defer poll.Stop()
	var end error
	for end == nil && !l.proved(c) {
		select {
		case <-ctx.Done():
			end = errNotShown
		case end = <-c.lost:
		case end = <-reading:
			return end
		case <-poll.C:
		}
	}
	c.conn.Interrupt()
	if err := <-reading; end == nil && !errors.Is(err, transport.ErrInterrupted) {
		end = err
	}
	return end
}

// dropFrames drops the frames of packets over a circuit that is not the link's yet, or
// not any more.
func (l *Link) dropFrames(c *circuit, packets [][]byte) {
	frames := c.session.Decode(nil, packets, c.conn.Peer(), time.Now())
	l.port.counters.Read.Add(ethernet.Disconnected, len(frames))
	c.session.Reclaim()
	if c.session.Asked() {
		c.wake()
	}
}

// greet sends a ping, so that the peer of a way without a handshake knows that
// somebody is there.
func (l *Link) greet(c *circuit) {
	c.sending.Lock()
	defer c.sending.Unlock()
	if packet := c.session.Greeting(time.Now()); packet != nil {
		l.port.sendBeside(c, packet, c.conn.Peer())
	}
}
