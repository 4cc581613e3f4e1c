package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestPage(t *testing.T) {
	r, err := loadResult("testdata/result.json")
	if err != nil {
		t.Fatal(err)
	}
	for path, got := range map[string]string{
		"testdata/performance.md":  page(r, "Fewer copies.\n\n- And fewer wake-ups.\n"),
		"testdata/performance.svg": plot(r),
		"testdata/table.txt":       r.figureTable(false).text() + "\n" + r.goalTable(false).text(),
		"testdata/compare.txt":     compare(r, r),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if want := read(t, path); got != want {
			t.Errorf("%s differs (go test ./bench -update writes it anew); got:\n%s", path, got)
		}
	}
}

func TestPageOfLittle(t *testing.T) {
	text := page(&Result{Profile: &Profile{Absent: "not installed: perf"}}, "")
	for _, want := range []string{"No profile was taken: not installed: perf.", "No benchmarks", "not measured"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said:\n%s", want, text)
		}
	}
	if strings.Contains(text, "left to gain\n") {
		t.Error("there is a section about what is left to gain, without its text")
	}
	if text := page(&Result{}, "## What is left to gain\n\nNothing.\n"); strings.Count(text, "## What is left") != 1 {
		t.Errorf("the heading is not there once:\n%s", text)
	}
}

func TestPlotIsXML(t *testing.T) {
	r, err := loadResult("testdata/result.json")
	if err != nil {
		t.Fatal(err)
	}
	r.Subjects[0].Title = `<a & "b">`
	for _, text := range []string{plot(r), plot(&Result{})} {
		d := xml.NewDecoder(strings.NewReader(text))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
		}
	}
}

func TestTickStep(t *testing.T) {
	for longest, want := range map[float64]float64{0: 1, 0.9: 0.2, 1.5: 0.2, 9: 2, 35: 5, 44: 10, 100: 20} {
		if got := tickStep(longest); got != want {
			t.Errorf("up to %v: a tick every %v, want %v", longest, got, want)
		}
	}
}
