package graph

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

var formats = map[string]func(io.Writer, Network) error{"txt": Text, "dot": DOT, "svg": SVG}

func TestGolden(t *testing.T) {
	for name, net := range networks {
		for ext, draw := range formats {
			t.Run(name+"."+ext, func(t *testing.T) {
				var got, again bytes.Buffer
				if err := draw(&got, net); err != nil {
					t.Fatal(err)
				}
				if err := draw(&again, net); err != nil || !bytes.Equal(got.Bytes(), again.Bytes()) {
					t.Errorf("drawn twice, it differs (%v)", err)
				}
				file := filepath.Join("testdata", name+"."+ext)
				if *update {
					if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), want) {
					t.Errorf("differs from %s; -update writes it anew. Now:\n%s", file, got.Bytes())
				}
			})
		}
	}
}
