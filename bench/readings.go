package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// This file reads what the measuring programs print.

// stream is what iperf3 says of one transfer.
type stream struct {
	bitsPerSecond float64 // received, without the seconds that were omitted
	bytes         float64 // moved, with them
	retransmits   float64
}

// parseIperf reads the JSON of iperf3 -J. What iperf3 itself reports as an
// error is an error.
func parseIperf(text string) (stream, error) {
	var report struct {
		Error     string
		Intervals []struct {
			Sum struct{ Bytes float64 }
		}
		End struct {
			Received *struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sent struct {
				Retransmits float64
			} `json:"sum_sent"`
		}
	}
	err := json.Unmarshal([]byte(text), &report)
	switch {
	case err != nil:
		return stream{}, fmt.Errorf("iperf3 printed no JSON: %w", err)
	case report.Error != "":
		return stream{}, fmt.Errorf("iperf3: %s", report.Error)
	case report.End.Received == nil:
		return stream{}, errors.New("iperf3 reports nothing received")
	}
	s := stream{bitsPerSecond: report.End.Received.BitsPerSecond, retransmits: report.End.Sent.Retransmits}
	for _, interval := range report.Intervals {
		s.bytes += interval.Sum.Bytes
	}
	return s, nil
}

// parsePing reads the round trip times of ping's lines, in milliseconds.
func parsePing(text string) ([]float64, error) {
	var times []float64
	for line := range strings.SplitSeq(text, "\n") {
		_, rest, found := strings.Cut(line, " time=")
		if !found {
			continue
		}
		number, unit, _ := strings.Cut(rest, " ")
		ms, err := strconv.ParseFloat(number, 64)
		if err != nil || !strings.HasPrefix(unit, "ms") {
			return nil, fmt.Errorf("ping printed a time that is none: %q", line)
		}
		times = append(times, ms)
	}
	if len(times) == 0 {
		return nil, errors.New("ping had no answer")
	}
	return times, nil
}

// clockTicks is USER_HZ, in which Linux reports processor time: 100 on every
// architecture that Go knows (proc_pid_stat(5)).
const clockTicks = 100

// parseStat reads the processor time of a process, of all its threads and in
// user and system mode, in seconds, from /proc/PID/stat.
func parseStat(text string) (float64, error) {
	// The name in parentheses may hold blanks and parentheses itself.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // the manual counts from 1, and two are cut off
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/PID/stat has %d fields: %q", len(fields), text)
	}
	user, err1 := strconv.ParseUint(fields[utime], 10, 64)
	system, err2 := strconv.ParseUint(fields[stime], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("/proc/PID/stat: %w", err)
	}
	return float64(user+system) / clockTicks, nil
}

// parseUsage reads the first line of /proc/stat: the ticks in which the
// processors did something, and all of them.
func parseUsage(line string) (used, all float64, err error) {
	fields := strings.Fields(line)
	const idle, iowait = 4, 5
	if len(fields) <= iowait || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for i, field := range fields[1:min(len(fields), 9)] { // guests' time is in user's already
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		all += ticks
		if i+1 != idle && i+1 != iowait {
			used += ticks
		}
	}
	return used, all, nil
}

// Micro is one benchmark of the Go packages.
type Micro struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Ns      float64 `json:"ns"`
	MBs     float64 `json:"mb_s,omitempty"`
	Bytes   float64 `json:"bytes"`
	Allocs  float64 `json:"allocs"`
}

// parseMicro reads the output of go test -bench -benchmem.
func parseMicro(text string) []Micro {
	var all []Micro
	pkg := ""
	for line := range strings.SplitSeq(text, "\n") {
		if p, found := strings.CutPrefix(line, "pkg: "); found {
			pkg = p
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		m := Micro{Package: pkg, Name: strings.TrimPrefix(fields[0], "Benchmark")}
		if name, threads, found := cutLast(m.Name, "-"); found {
			if _, err := strconv.Atoi(threads); err == nil {
				m.Name = name
			}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			switch fields[i+1] {
			case "ns/op":
				m.Ns = v
			case "MB/s":
				m.MBs = v
			case "B/op":
				m.Bytes = v
			case "allocs/op":
				m.Allocs = v
			}
		}
		if m.Ns > 0 {
			all = append(all, m)
		}
	}
	return all
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
