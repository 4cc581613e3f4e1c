package link

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

func TestFailuresAreToldOnce(t *testing.T) {
	now := time.Unix(1, 0)
	var f failures
	told := func(text string) bool {
		f.note(errors.New(text), now)
		return f.level(slog.LevelWarn) == slog.LevelWarn
	}
	for i, step := range []struct {
		text string
		pass time.Duration
		want bool
	}{
		{"refused", 0, true}, {"refused", time.Minute, false}, {"no route", time.Minute, true}, {"refused", time.Minute, false},
		{"no route", time.Minute, false}, {"refused", tellAgain, true}, {"refused", time.Minute, false},
	} {
		now = now.Add(step.pass)
		if got := told(step.text); got != step.want {
			t.Errorf("step %d, %s: told %t", i, step.text, got)
		}
	}
	for i := range 3 * maxFailures {
		if !told(fmt.Sprint("reason ", i)) || len(f.told) > maxFailures {
			t.Fatalf("reason %d is not told, or %d are remembered", i, len(f.told))
		}
	}
	if f = (failures{}); !told("refused") {
		t.Error("after the peer was there, a failure is not told of again")
	}
}
