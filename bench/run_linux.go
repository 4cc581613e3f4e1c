package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// newMeasuring is the subcommands that measure.
func newMeasuring() []*cobra.Command { return []*cobra.Command{newRun(), newFlood(), newSink()} }

// plan is what `bench run` was asked for.
type plan struct {
	tmelink  string
	settings Settings
	only     []string
	json     string
	page     string
	micro    bool
	profile  bool
}

func newRun() *cobra.Command {
	var p plan
	var names []string
	for _, c := range contenders {
		names = append(names, c.Name)
	}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure, as root; prints the table",
		Long: "Measures every subject in every round, and prints the table to standard output and what\n" +
			"it does to standard error. It needs root, iproute2, iperf3 and ping; what it compares\n" +
			"with is skipped where it is not installed. Programs on Debian:\n\n" +
			"  " + installPeers + "\n\n" +
			"The subjects: " + strings.Join(names, " ") + ".",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			r, err := p.run(ctx)
			if errors.Is(err, context.Canceled) {
				return errors.New("run: interrupted; what it started and made is gone")
			}
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), r.figureTable(false).text(), "\n", r.goalTable(false).text())
			return p.store(r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.tmelink, "tmelink", "", "the tmelink to measure (default: built from this tree, with its symbols)")
	f.IntVar(&p.settings.Rounds, "rounds", 3, "how often everything is measured")
	f.IntVar(&p.settings.Seconds, "seconds", 4, "how long a TCP stream is; it runs a second longer, whose beginning does not count")
	f.StringSliceVar(&p.only, "only", nil, "only the subjects of these names, such as tmelink-*,openvpn-udp")
	f.StringVar(&p.settings.Congestion, "congestion", "cubic", "TCP's congestion control, inside the tunnels and on the wire; cubic is Linux's default")
	f.StringVar(&p.json, "json", "", "write the result to this file")
	f.StringVar(&p.page, "page", "", "write performance.md and performance.svg to this directory")
	f.BoolVar(&p.micro, "micro", true, "run the Go benchmarks of the packages too")
	f.BoolVar(&p.profile, "profile", true, "see by perf where the time of a stream through "+plainProfiled+" and "+keyedProfiled+" goes")
	return cmd
}

// store writes what was asked for, the result itself first.
func (p *plan) store(r *Result) error {
	if p.json != "" {
		if err := r.save(p.json); err != nil {
			return err
		}
	}
	if p.page != "" {
		return writePage(r, p.page)
	}
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// run measures everything.
func (p *plan) run(ctx context.Context) (*Result, error) {
	chosen, err := p.check()
	if err != nil {
		return nil, err
	}
	if err := removeLeftHosts(ctx); err != nil {
		return nil, err
	}
	r := &Result{Made: time.Now(), Settings: p.settings, Machine: thisMachine()}
	ours := slices.ContainsFunc(chosen, func(c contender) bool { return c.tmelink })
	if ours && p.tmelink == "" {
		dir, err := os.MkdirTemp("", "bench-build-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		progress("build tmelink")
		if p.tmelink, err = buildTmelink(ctx, dir); err != nil {
			return nil, err
		}
	}
	r.Versions = versions(ctx, p.tmelink)
	if others, err := busy(ctx); err == nil && others > 0.05 {
		r.Notes = append(r.Notes, fmt.Sprintf("The machine was not idle: just before the run other programs took %.0f %% of its processors.", 100*others))
		progress("%s", r.Notes[len(r.Notes)-1])
	}

	var able []contender
	for _, c := range chosen {
		c.Skipped = missing(c.needs)
		if c.Skipped != "" {
			progress("%s is skipped: %s", c.Name, c.Skipped)
		} else {
			able = append(able, c)
		}
		r.Subjects = append(r.Subjects, c.Subject)
	}
	if err := p.measureAll(ctx, r, able); err != nil {
		return nil, err
	}
	for _, c := range able {
		of := map[string]**Profile{plainProfiled: &r.Profile, keyedProfiled: &r.Keyed}[c.Name]
		if !p.profile || of == nil {
			continue
		}
		progress("profile of %s", c.Name)
		if *of, err = p.record(ctx, c); err != nil {
			return nil, err
		}
	}
	if p.micro {
		progress("benchmarks of the packages")
		var notes []string
		r.Micro, notes = runMicro(ctx)
		r.Notes = append(r.Notes, notes...)
	}
	return r, ctx.Err()
}

// check says what is wrong with the plan before anything is done, and gives the
// subjects chosen.
func (p *plan) check() ([]contender, error) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // not everybody's has them
	os.Setenv("LC_ALL", "C")                                // what programs print is read
	chosen, err := choose(p.only)
	switch {
	case err != nil:
		return nil, err
	case p.settings.Rounds < 1 || p.settings.Seconds < 1:
		return nil, errors.New("run: --rounds and --seconds are at least 1")
	case os.Geteuid() != 0:
		return nil, errors.New("run: making network namespaces needs root: run it by sudo")
	}
	if text := missing([]string{"ip", "iperf3", "ping"}); text != "" {
		return nil, fmt.Errorf("run: %s; on Debian: %s", text, installPeers)
	}
	if p.tmelink != "" {
		if p.tmelink, err = filepath.Abs(p.tmelink); err != nil {
			return nil, err
		}
		if _, err := exec.LookPath(p.tmelink); err != nil {
			return nil, fmt.Errorf("run: --tmelink %s: %w; leave it out to measure what is built from this tree", p.tmelink, errors.Unwrap(err))
		}
	}
	return chosen, nil
}

// choose gives the contenders whose names match one of the patterns, or all.
func choose(patterns []string) ([]contender, error) {
	if len(patterns) == 0 {
		return contenders, nil
	}
	wanted := map[string]bool{}
	for _, pattern := range patterns {
		found := false
		for _, c := range contenders {
			if ok, err := path.Match(pattern, c.Name); err == nil && ok {
				wanted[c.Name], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("run: --only %s: there is no such subject; bench run --help lists them", pattern)
		}
	}
	return slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool { return !wanted[c.Name] }), nil
}

const installPeers = "apt-get install --no-install-recommends iproute2 iputils-ping iperf3 ethtool openvpn wireguard-go wireguard-tools socat vde2 slirp4netns linux-perf"

// missing says which of the programs are not installed.
func missing(programs []string) string {
	var absent []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			absent = append(absent, program)
		}
	}
	if absent == nil {
		return ""
	}
	return "not installed: " + strings.Join(absent, ", ")
}

// measureAll goes through the rounds and puts what they gave into the result.
func (p *plan) measureAll(ctx context.Context, r *Result, able []contender) error {
	readings := map[string]map[string][]float64{}
	begin := time.Now()
	done, all := 0, p.settings.Rounds*len(able)
	for round := range p.settings.Rounds {
		for _, c := range able {
			progress("round %d of %d: %s%s", round+1, p.settings.Rounds, c.Name, left(time.Since(begin), done, all))
			got, problems, err := p.measureOne(ctx, c)
			if err != nil {
				return err
			}
			done++
			subject := r.subject(c.Name)
			for _, problem := range problems {
				progress("  %s: %s", c.Name, problem)
				subject.Problems = append(subject.Problems, fmt.Sprintf("round %d: %s", round+1, problem))
			}
			if readings[c.Name] == nil {
				readings[c.Name] = map[string][]float64{}
			}
			var line []string
			for _, f := range figures {
				if v, ok := got[f.key]; ok {
					readings[c.Name][f.key] = append(readings[c.Name][f.key], v)
					if f.column {
						line = append(line, strings.TrimSpace(f.title+" "+f.format(v)+" "+f.unit))
					}
				}
			}
			progress("  %s", strings.Join(line, ", "))
		}
	}
	for i := range r.Subjects {
		s := &r.Subjects[i]
		for key, values := range readings[s.Name] {
			if s.Figures == nil {
				s.Figures = map[string]Value{}
			}
			s.Figures[key] = newValue(values)
		}
	}
	return nil
}

// measureOne sets one subject up, measures it, and takes it down again.
func (p *plan) measureOne(ctx context.Context, c contender) (_ reading, _ []string, err error) {
	s, err := newSite(ctx, p.tmelink, p.settings.Congestion)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.real = c.real
	n, err := c.build(s)
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case err != nil:
		return nil, []string{"cannot be set up: " + err.Error()}, nil
	}
	return measure(s, n, p.settings.Seconds)
}

// left says how long it will still take, from what it took until now.
func left(passed time.Duration, done, all int) string {
	if done == 0 {
		return ""
	}
	rest := passed / time.Duration(done) * time.Duration(all-done)
	if rest < 90*time.Second {
		return fmt.Sprintf(" (about %d s left)", int(rest.Seconds())+1)
	}
	return fmt.Sprintf(" (about %d min left)", int(rest.Minutes()+0.5))
}
