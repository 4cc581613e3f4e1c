//go:build !unix

package vale

import (
	"log/slog"

	"tmelink/internal/elements/generic"
)

// uplink: here a switch is of one process.
type uplink struct{}

func startUplink(_ *generic.Switch, name string, log *slog.Logger) *uplink {
	log.Info("machines of this process alone share the switch " + name + "; only Unix has the others, too")
	return &uplink{}
}

func (u *uplink) status() string { return "of this process alone" }
func (u *uplink) stop()          {}
