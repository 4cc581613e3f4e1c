package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// Result is all that one run found out.
type Result struct {
	Made     time.Time `json:"made"`
	Settings Settings  `json:"settings"`
	Machine  Machine   `json:"machine"`
	Versions []Version `json:"versions"`
	Subjects []Subject `json:"subjects"`
	Micro    []Micro   `json:"micro,omitempty"`
	Profile  *Profile  `json:"profile,omitempty"`       // of plainProfiled
	Keyed    *Profile  `json:"profile_keyed,omitempty"` // of keyedProfiled
	Notes    []string  `json:"notes,omitempty"`         // what was left out of the run, and why
}

// Settings is how it was measured.
type Settings struct {
	Rounds     int    `json:"rounds"`
	Seconds    int    `json:"seconds"` // of one TCP stream
	Congestion string `json:"congestion"`
}

// Machine is where it was measured.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  string `json:"memory"`
	Kernel  string `json:"kernel"`
	Virtual bool   `json:"virtual"`
}

// Version is of one program that took part.
type Version struct {
	Program string `json:"program"`
	Version string `json:"version"`
}

// Subject is one of those measured, and what was found.
type Subject struct {
	Name     string           `json:"name"`
	Title    string           `json:"title"`
	Group    string           `json:"group"`
	What     string           `json:"what"`
	Base     string           `json:"base,omitempty"` // the subject that its figures are divided by
	Ours     bool             `json:"ours,omitempty"`
	Skipped  string           `json:"skipped,omitempty"`
	Figures  map[string]Value `json:"figures,omitempty"` // by figure.key
	Problems []string         `json:"problems,omitempty"`
}

// Value is one figure of a subject, over the rounds.
type Value struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Rounds []float64 `json:"rounds"`
}

// figure is a kind of measurement.
type figure struct {
	key    string
	title  string
	unit   string
	digits int  // behind the point
	more   bool // more of it is better
	column bool // has a column in the table, if any subject has it; others are in the JSON only
}

// The keys of the figures.
const (
	tcpForward = "tcp-forward"
	tcpBack    = "tcp-back"
	floodRate  = "udp-64"
	iperfRate  = "udp-64-iperf3"
	pingTime   = "ping"
	cpuTime    = "cpu-per-gb"
	collection = "gc"
	retransmit = "tcp-retransmits"
	floodSent  = "udp-64-sent"
	floodLost  = "udp-64-lost"
	floodLate  = "udp-64-late"
	handshake  = "handshake"
)

var figures = []figure{
	{tcpForward, "TCP →", "Gb/s", 2, true, true},
	{tcpBack, "TCP ←", "Gb/s", 2, true, true},
	{floodRate, "64-byte UDP", "kpps", 0, true, true},
	{iperfRate, "the same by iperf3", "kpps", 0, true, true},
	{pingTime, "ping", "ms", 3, false, true},
	{cpuTime, "CPU", "s/GB", 2, false, true},
	{collection, "GCs", "", 0, false, true},
	{handshake, "handshake", "ms", 1, false, true},
	{retransmit, "retransmits", "segments", 0, false, false},
	{floodSent, "64-byte UDP sent", "kpps", 0, true, false},
	{floodLost, "64-byte UDP lost", "%", 1, false, false},
	{floodLate, "64-byte UDP out of order", "%", 3, false, false},
}

// columns are the figures that the table has a column for: those that any subject
// has. Results of before there were links with keys have no handshake.
func (r *Result) columns() []figure {
	var all []figure
	for _, f := range figures {
		if f.column && slices.ContainsFunc(r.Subjects, func(s Subject) bool { _, ok := s.Figures[f.key]; return ok }) {
			all = append(all, f)
		}
	}
	return all
}

// newValue is a figure from what the rounds gave, of which there is at least one.
func newValue(rounds []float64) Value {
	return Value{median(rounds), slices.Min(rounds), slices.Max(rounds), rounds}
}

// median is the middle one, or the mean of the two in the middle; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// format writes a value of the figure without its unit.
func (f figure) format(v float64) string { return fmt.Sprintf("%.*f", f.digits, v) }

// subject is the one of a name, or nil.
func (r *Result) subject(name string) *Subject {
	for i := range r.Subjects {
		if r.Subjects[i].Name == name {
			return &r.Subjects[i]
		}
	}
	return nil
}

// value is a subject's median of a figure, if it was measured.
func (r *Result) value(subject, key string) (float64, bool) {
	s := r.subject(subject)
	if s == nil {
		return 0, false
	}
	v, ok := s.Figures[key]
	return v.Median, ok
}

// ratio is one subject's median divided by another's, if both were measured.
func (r *Result) ratio(subject, base, key string) (float64, bool) {
	a, ok := r.value(subject, key)
	if !ok {
		return 0, false
	}
	b, ok := r.value(base, key)
	return a / b, ok && b != 0
}

func loadResult(path string) (*Result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s is no result of bench run --json: %w", path, err)
	}
	return r, nil
}

func (r *Result) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the result %s: %w", path, err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}
