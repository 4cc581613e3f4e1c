package machine

import (
	"context"
	"log/slog"
)

// levelled hears only what is at least at its own level, whatever the handler
// below it would hear: each element has its own.
type levelled struct {
	slog.Handler
	level slog.Leveler
}

func (h levelled) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h levelled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelled{h.Handler.WithAttrs(attrs), h.level}
}

func (h levelled) WithGroup(name string) slog.Handler {
	return levelled{h.Handler.WithGroup(name), h.level}
}
