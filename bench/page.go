package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// gainFile is the hand-written part of the page, kept beside this program.
const gainFile = "bench/gain.md"

// writePage writes performance.md and performance.svg into a directory.
func writePage(r *Result, dir string) error {
	gain, err := readGain()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "performance.md"), []byte(page(r, gain)), 0o666),
		os.WriteFile(filepath.Join(dir, "performance.svg"), []byte(plot(r)), 0o666))
}

// readGain looks for the hand-written part from here upwards, so that the bench
// can be run anywhere in the source tree. There need not be one.
func readGain() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, gainFile))
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return string(text), err
		}
		if up := filepath.Dir(dir); up != dir {
			dir = up
			continue
		}
		return "", nil
	}
}

// page is docs/performance.md. gain is Markdown that is taken over as it is.
func page(r *Result, gain string) string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	p("# Performance\n")
	p("Written by `bench run --page`: measure again, do not change this file. What is under")
	p("\"What is left to gain\" is `%s`.\n", gainFile)
	p("%s\n", introduction(r))
	p("![One TCP stream in both directions, for every subject, in Gb/s](performance.svg)\n")
	p("%s", r.figureTable(true).markdown())
	p("%s%s%s", columns, aboutHandshake(r), subjectList(r))
	p("## Goals\n")
	p("Each is a ratio of two medians of this same run or, where it is to nothing, a median. What is\n" +
		"missed stays in the list.\n")
	p("%s", r.goalTable(true).markdown())
	p("## How it was measured\n")
	p("%s\n", method(r))
	p("%s%s", facts(r), noise(r))
	p("## The pieces\n")
	p("%s", microSection(r))
	p("## Where the time goes\n")
	p("%s", profileSection(r.Profile))
	if r.Keyed != nil {
		p("%s", profileSection(r.Keyed))
	}
	if gain != "" {
		gain = strings.TrimSpace(gain)
		if !strings.HasPrefix(gain, "## What is left to gain") {
			p("## What is left to gain\n")
		}
		p("%s\n", gain)
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

func introduction(r *Result) string {
	m := r.Machine
	machine := "a machine"
	if m.Virtual {
		machine = "a virtual machine"
	}
	cores := fmt.Sprintf("%d cores", m.Cores)
	if m.Cores == 1 {
		cores = "1 core"
	}
	return fmt.Sprintf("Two hosts, made of network namespaces of one machine and joined by a veth pair with an MTU\n"+
		"of 1500, send to each other through a tunnel. Sender, receiver, wire and both ends of the\n"+
		"tunnel share that machine's processors, as they do for everything that is compared here.\n\n"+
		"Measured on %s: %s and %s on %s (%s, %s of memory)\n"+
		"with %s.",
		r.Made.Format("2 January 2006"), r.version("tmelink"), r.version("OpenVPN"), machine, m.CPU+", "+cores, m.Memory, m.Kernel)
}

const columns = `In parentheses: the ratio to the subject of the last column, which for tunnels is OpenVPN
over the same transport and with the same keys.

- **TCP →** and **TCP ←**: one TCP stream from the first host to the second and back, as
  received, by iperf3.
- **64-byte UDP**: datagrams of 64 bytes received, when one sender sends as many as it can.
  Each is a frame of its own. The sender takes a whole core, so that this is what gets
  through under overload; much of what is sent is lost.
- **the same by iperf3**: with ` + "`-u -b 0 -l 64`" + `, which takes a system call for each
  datagram at both ends.
- **ping**: the median round trip of 500, one every 2 ms.
- **CPU**: user and system time of the tunnel's processes for a gigabyte of the TCP streams.
  Time of soft interrupts counts for whoever they interrupt. Kernel tunnels have no process.
- **GCs**: garbage collections of both ends during the TCP streams, where they are in Go.
`

// aboutHandshake explains that column, where there is one.
func aboutHandshake(r *Result) string {
	if !slices.ContainsFunc(r.columns(), func(f figure) bool { return f.key == handshake }) {
		return ""
	}
	return `- **handshake**: from the first packet of the second end, whose peer waits for it, until a
  frame has come through in each direction, of which one is sent every millisecond; the
  median of 5.
`
}

// subjectList says what each subject is, by groups, and what went wrong.
func subjectList(r *Result) string {
	var out strings.Builder
	group := ""
	for _, s := range r.Subjects {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&out, "\n%s:\n\n", capital(group))
		}
		fmt.Fprintf(&out, "- %s: %s", s.Title, s.What)
		if s.Skipped != "" {
			fmt.Fprintf(&out, " (skipped: %s)", s.Skipped)
		}
		out.WriteString(".\n")
		for _, problem := range s.Problems {
			fmt.Fprintf(&out, "  **Failed in %s**\n", oneLine(problem))
		}
	}
	return out.String()
}

func method(r *Result) string {
	return fmt.Sprintf("    go run ./bench run --json result.json --page docs    # as root\n\n"+
		"%s, in each of which every subject was set up afresh, in turn. The figures are medians\n"+
		"of the rounds. A TCP stream is %d s long after a first second that does not count; congestion\n"+
		"control is %s, inside the tunnel and on the wire. The MTU inside is 1500 too, but for those\n"+
		"that have one of their own.\n\n"+
		"A veth pair hands on large packets of many segments, and unfinished checksums, whole.\n"+
		"That flatters whatever sends such packets, tmelink and the kernel alike. Under \"real\n"+
		"segments\" it does not: `ethtool -K` has turned segmentation offloads off at both of its\n"+
		"ends, so that the sender's kernel cuts every packet; checksums are still left to the wire,\n"+
		"as network cards compute them.", capital(rounds(r.Settings.Rounds)), r.Settings.Seconds, r.Settings.Congestion)
}

func facts(r *Result) string {
	var parts []string
	for _, v := range r.Versions {
		parts = append(parts, v.Program+" "+v.Version)
	}
	return "Versions: " + strings.Join(parts, ", ") + ".\n"
}

// noise is the range of the rounds of the first figure, and what else disturbed.
func noise(r *Result) string {
	var out strings.Builder
	if r.Settings.Rounds > 1 {
		t := &table{head: []string{"range of the rounds"}, left: 1}
		var shown []figure
		for _, f := range r.columns() {
			if f.key != collection {
				shown = append(shown, f)
				t.head = append(t.head, strings.TrimSpace(f.title+" "+f.unit))
			}
		}
		for _, s := range r.Subjects {
			if len(s.Figures) == 0 {
				continue
			}
			row := []string{s.Title}
			for _, f := range shown {
				cell := "–"
				if v, ok := s.Figures[f.key]; ok {
					cell = f.format(v.Min) + "–" + f.format(v.Max)
				}
				row = append(row, cell)
			}
			t.add(row...)
		}
		out.WriteString("\n" + t.markdown())
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&out, "\n%s\n", oneLine(note))
	}
	return out.String()
}

func microSection(r *Result) string {
	if len(r.Micro) == 0 {
		return "No benchmarks of the packages were run.\n"
	}
	t := &table{head: []string{"benchmark", "ns/op", "MB/s", "B/op", "allocs/op"}, left: 1}
	for _, m := range r.Micro {
		speed := "–"
		if m.MBs > 0 {
			speed = fmt.Sprintf("%.0f", m.MBs)
		}
		t.add(strings.TrimPrefix(m.Package, "tmelink/internal/")+" "+m.Name, fmt.Sprintf("%.4g", m.Ns), speed,
			fmt.Sprintf("%.0f", m.Bytes), fmt.Sprintf("%.0f", m.Allocs))
	}
	return "What `go test -bench . -benchmem` says of the packages that frames pass through.\n\n" + t.markdown()
}

func profileSection(p *Profile) string {
	switch {
	case p == nil:
		return "No profile was taken.\n"
	case p.Absent != "":
		return "No profile was taken: " + oneLine(p.Absent) + ".\n"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "The whole machine during 2 s of a TCP stream through %s, with %.2f Gb/s while it was\n"+
		"recorded, by `perf record -a -e cpu-clock`: %d samples.\n", p.Subject, p.Gbps, p.Samples)
	if p.Note != "" {
		fmt.Fprintf(&out, "%s\n", p.Note)
	}
	byGroup := &table{head: []string{"what for", "share"}, left: 1}
	for _, g := range p.Groups {
		byGroup.add(g.Group, percent(g.Percent))
	}
	fmt.Fprintf(&out, "\n%s\n", byGroup.markdown())
	fmt.Fprintf(&out, "The functions with the largest shares of their own. A timer's interrupt takes the samples:\n"+
		"what runs with interrupts off is seen where they are turned on again, as in\n"+
		"`_raw_spin_unlock_irqrestore`.\n\n")
	functions := &table{head: []string{"function", "of", "what for", "share"}, left: 3}
	for _, f := range p.Functions {
		functions.add("`"+f.Name+"`", f.Where, f.Group, percent(f.Percent))
	}
	out.WriteString(functions.markdown())
	return out.String()
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", v) }

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
