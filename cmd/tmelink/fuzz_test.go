package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"tmelink/internal/lab"
)

// FuzzCheck builds whatever a text describes, with every element type of the
// binary: nothing may panic, and every fault has a place.
func FuzzCheck(f *testing.F) {
	examples, err := filepath.Glob("../../examples/*/*.tme")
	if err != nil || len(examples) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, name := range examples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: tme/host/openvpn/socket/link --dev tap --local :: --remote fd00::1 70000 tcp\n"))
	f.Add([]byte("t: tme/host/openvpn/tun/tap --dev tap3 --ifconfig 1.2.3.4 255.0.0.0 --up \"x y\" --script-security 2; t at t"))
	f.Add([]byte("s: tme/generic/switch ageing 0 queue 99999999999\ns at s\ncommand s x"))
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, text []byte) {
		read := func(string) ([]byte, error) { return text, nil }
		l, sources, faults := lab.Load([]string{"fuzz.tme"}, read, log, slog.LevelInfo)
		var out bytes.Buffer
		faults.Print(&out, sources)
		if len(faults) > 0 {
			for _, fault := range faults {
				if fault.Pos.File == "" {
					t.Fatalf("a fault without place: %v", fault)
				}
			}
			return
		}
		for _, m := range l.Machines {
			describe(io.Discard, m)
		}
		if err := drawings["text"](io.Discard, picture(l)); err != nil {
			t.Fatal(err)
		}
	})
}
