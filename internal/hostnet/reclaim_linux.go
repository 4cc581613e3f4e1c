package hostnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Reclaim undoes what processes have left behind that were killed before they
// could undo it themselves, and logs each. taken is the name of a TAP device
// that this process has just opened, or "": a journal of that name has no owner
// any more, whatever it says. Without the privilege to look it does nothing.
func (n *Namespace) Reclaim(ctx context.Context, taken string, log *slog.Logger) error {
	all, err := n.tables()
	// EINVAL is the answer to a request for a netfilter subsystem that the
	// kernel does not have (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg).
	if err != nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || noNftables(err)) {
		return nil
	}
	if err != nil || !slices.ContainsFunc(all, func(t table) bool { return t.abandoned(taken) }) {
		return err
	}
	unlock, err := n.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if all, err = n.tables(); err != nil { // as they are under the lock
		return err
	}
	var errs []error
	for i := 0; i < len(all); {
		t := all[i]
		if !t.abandoned(taken) {
			i++
			continue
		}
		all = slices.Delete(all, i, i+1)
		for _, strange := range t.strange {
			log.Warn("left out what an nftables table says", "table", t.name, "err", strange)
		}
		plain := func() error { return n.plain(TunNode, strings.TrimPrefix(t.name, tablePrefix)) }
		if err := errors.Join(n.undo(t.entries, all), n.Do(plain), n.deleteTable(t.name)); err != nil {
			errs = append(errs, fmt.Errorf("undo what process %d left behind in table %s: %w", t.owner.pid, t.name, err))
			continue
		}
		log.Info("undid what a killed process had left behind", "table", t.name, "pid", t.owner.pid)
	}
	return errors.Join(errs...)
}

func (t *table) abandoned(taken string) bool {
	return taken != "" && t.name == tablePrefix+taken || !t.owner.alive()
}
