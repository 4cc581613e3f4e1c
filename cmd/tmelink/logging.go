package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

// logging is how events are written to standard error.
type logging struct {
	levelName string
	json      bool
	logger    *slog.Logger
	level     slog.Level
}

// progress is where lines go that are no events of an element. With JSON each
// becomes an event too, so that a program can read them all alike.
func (l *logging) progress() io.Writer {
	if l.json {
		return slog.NewLogLogger(l.logger.Handler(), slog.LevelInfo).Writer()
	}
	return os.Stderr
}

// quiet is for subcommands in which nothing happens.
var quiet = logging{logger: slog.New(slog.DiscardHandler)}

func (l *logging) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.levelName, "log-level", "info", "tell events from this level: debug, info, warn or error (`log ELEMENT LEVEL` goes before it)")
	cmd.Flags().BoolVar(&l.json, "log-json", false, "write events and progress as JSON, one a line")
	cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions(
		[]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

func (l *logging) open() error {
	if err := l.level.UnmarshalText([]byte(l.levelName)); err != nil {
		return fmt.Errorf("--log-level %q is not debug, info, warn or error", l.levelName)
	}
	// Every element has a level of its own; the handler writes what they let through.
	if l.json {
		l.logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		return nil
	}
	l.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
			}
			return a
		},
	}))
	return nil
}
