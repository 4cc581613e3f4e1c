// Package lab runs several machines in one process: it reads their
// descriptions, finds what they would take from each other, starts them so that
// each finds what it needs, and ends them in reverse.
//
// Descriptions flow through Load, progress and the commands' output come out of
// Run. No frame passes here.
package lab

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/machine"
	"tmelink/internal/tmesh"
)

// Lab is all machines of one process.
type Lab struct {
	Machines []*machine.Machine
	log      *slog.Logger
	made     time.Time
}

// Load reads descriptions, each of which describes one machine, and builds the
// machines. It opens nothing but the files, which read brings. With faults the
// lab cannot be run; the sources are for showing where the faults are.
func Load(files []string, read func(string) ([]byte, error), log *slog.Logger, level slog.Level) (*Lab, tmesh.Sources, tmesh.Faults) {
	l := &Lab{log: log, made: time.Now()}
	sources := tmesh.Sources{}
	var faults tmesh.Faults
	names := machineNames(files)
	for i, file := range files {
		if first := slices.Index(names, names[i]); first < i {
			faults = append(faults, tmesh.Faultf(tmesh.Pos{File: file}, "the description is named twice: one file describes one machine"))
			continue
		}
		statements, texts, wrong := tmesh.Load(file, read)
		for name, text := range texts {
			sources[name] = text
		}
		m, more := machine.Build(machine.Config{Name: names[i], Dir: filepath.Dir(file), Log: log, Level: level}, statements)
		l.Machines = append(l.Machines, m)
		wrong = append(wrong, more...)
		wrong.Sort()
		faults = append(faults, wrong...)
	}
	faults = append(faults, l.collisions(slices.Contains(files, "-"))...)
	return l, sources, faults
}

// machineNames names each machine after its file, without folder and ending;
// files of equal names keep as much of their path as tells them apart.
func machineNames(files []string) []string {
	names := make([]string, len(files))
	for step, form := range []func(string) string{
		func(f string) string { return stem(filepath.Base(f)) },
		func(f string) string { return stem(filepath.ToSlash(filepath.Clean(f))) },
		func(f string) string { return filepath.ToSlash(filepath.Clean(f)) },
	} {
		times := map[string]int{}
		for _, name := range names {
			times[name]++
		}
		for i, f := range files {
			switch {
			case f == "-":
				names[i] = "stdin"
			case step == 0 || times[names[i]] > 1:
				names[i] = form(f)
			}
		}
	}
	return names
}

// stem is a path without its ending.
func stem(path string) string {
	if s := strings.TrimSuffix(path, filepath.Ext(path)); s != "" {
		return s
	}
	return path
}

// TakesStandardIO says whether frames go over standard input and output.
func (l *Lab) TakesStandardIO() bool {
	for _, m := range l.Machines {
		if slices.ContainsFunc(m.Claims(), func(c machine.Claim) bool { return c.Proto == element.StandardIO }) {
			return true
		}
	}
	return false
}

// collisions finds the elements of the lab that need the same thing of the host.
// piped says that a description came by standard input.
func (l *Lab) collisions(piped bool) tmesh.Faults {
	var claims []machine.Claim
	var faults tmesh.Faults
	for _, m := range l.Machines {
		for _, c := range m.Claims() {
			if piped && c.Proto == element.StandardIO {
				faults = append(faults, tmesh.Faultf(c.Pos, "%s and the description would both come by standard input: put the description into a file", c.Element))
			}
			for _, earlier := range claims {
				if why := c.Conflict(earlier.Claim); why != "" {
					faults = append(faults, tmesh.Faultf(c.Pos, "%s and %s of machine %s (%s) both use %s: %s",
						c.Element, earlier.Element, earlier.Machine, earlier.Pos, c.Claim, why))
					break
				}
			}
			claims = append(claims, c)
		}
	}
	return faults
}
