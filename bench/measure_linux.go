package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// reading is what one round found of a subject, by figure.key.
type reading map[string]float64

// measure takes all figures of a network. A figure that cannot be had is left
// out, and named among the problems; the error is for what ends everything.
func measure(s *site, n *network, seconds int) (reading, []string, error) {
	if err := s.ready(n, 30*time.Second); err != nil {
		return nil, []string{"it does not come up: " + err.Error()}, s.ctx.Err()
	}
	got := reading{}
	var problems []string
	for _, step := range []struct {
		what string
		take func() error
	}{
		{"TCP streams", func() error { return s.streams(n, seconds, got) }},
		{"ping", func() error { return s.pings(n, got) }},
		{"64-byte datagrams", func() error { return s.datagrams(n, seconds, got) }},
		{"64-byte datagrams by iperf3", func() error { return s.iperfDatagrams(n, seconds, got) }},
		{"handshake", func() error { return s.handshakes(n, got) }}, // the last one: it starts the ends anew
	} {
		err := step.take()
		if s.ctx.Err() != nil {
			return nil, nil, s.ctx.Err()
		}
		if err != nil {
			problems = append(problems, step.what+": "+err.Error())
		}
	}
	for _, p := range n.ends {
		if err := p.ended(); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return got, problems, nil
}

// ready waits until a ping goes through and back.
func (s *site) ready(n *network, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		_, err := s.run(n.client, 5*time.Second, "ping", "-n", "-c", "1", "-W", "1", n.serverAddr)
		if err == nil {
			return nil
		}
		for _, p := range n.ends {
			if err := p.ended(); err != nil {
				return err
			}
		}
		if time.Now().After(end) {
			err = fmt.Errorf("no answer to a ping within %v: %w", d, err)
			for _, p := range n.ends {
				err = fmt.Errorf("%w; %s%s", err, p.args[0], said(p.out.String()))
			}
			return err
		}
		if err := pause(s.ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// streams measures one TCP stream there and one back, with the processor time
// and the garbage collections that the tunnel's ends had meanwhile.
func (s *site) streams(n *network, seconds int, got reading) error {
	var busy, bytes, retransmits float64
	gcs := 0
	for _, way := range []struct {
		figure string
		args   []string
	}{{tcpForward, nil}, {tcpBack, []string{"-R"}}} {
		before, gcsBefore, err := n.used()
		if err != nil {
			return err
		}
		st, err := s.iperf(n, time.Duration(seconds+1)*time.Second,
			append([]string{"-C", s.congestion, "-O", "1", "-t", strconv.Itoa(seconds)}, way.args...)...)
		if err != nil {
			return fmt.Errorf("%s: %w", way.figure, err)
		}
		after, gcsAfter, err := n.used()
		if err != nil {
			return err
		}
		got[way.figure] = st.bitsPerSecond / 1e9
		busy += after - before
		gcs += gcsAfter - gcsBefore
		bytes += st.bytes
		retransmits += st.retransmits
	}
	got[retransmit] = retransmits
	if len(n.ends) > 0 && bytes > 0 {
		got[cpuTime] = busy / (bytes / 1e9)
	}
	if s.runsGo(n) {
		got[collection] = float64(gcs)
	}
	return nil
}

// used is the processor time and the garbage collections of the tunnel's ends
// until now.
func (n *network) used() (cpu float64, gcs int, err error) {
	for _, p := range n.ends {
		c, err := p.cpu()
		if err != nil {
			return 0, 0, errors.Join(err, p.ended())
		}
		cpu += c
		gcs += p.out.gcs()
	}
	return cpu, gcs, nil
}

// runsGo says whether any of the ends is a program in Go, and so has collections.
func (s *site) runsGo(n *network) bool {
	for _, p := range n.ends {
		if p.args[0] == s.tmelink || p.args[0] == "wireguard-go" {
			return true
		}
	}
	return false
}

// iperf runs iperf3 from the client to a server that is there for this once.
func (s *site) iperf(n *network, d time.Duration, args ...string) (stream, error) {
	server, err := s.start(n.server, "iperf3", "-s", "-1", "-B", n.serverAddr, "--forceflush")
	if err != nil {
		return stream{}, err
	}
	defer server.stop()
	if err := server.expect(s.ctx, "listening", 5*time.Second); err != nil {
		return stream{}, err
	}
	out, failed := s.run(n.client, d+15*time.Second, append([]string{"iperf3", "-J", "-c", n.serverAddr, "-B", n.clientAddr}, args...)...)
	st, err := parseIperf(out)
	if failed != nil && out == "" {
		return stream{}, failed
	}
	return st, err
}

// pings measures the round trip: the median of many, one after the other.
func (s *site) pings(n *network, got reading) error {
	out, err := s.run(n.client, 20*time.Second, "ping", "-n", "-i", "0.002", "-c", "500", n.serverAddr)
	if err != nil {
		return err
	}
	times, err := parsePing(out)
	if err != nil {
		return err
	}
	got[pingTime] = median(times)
	return nil
}

// shortly is how long datagrams are sent: half as long as a stream, because
// their number varies less.
func shortly(seconds int) int { return max(1, seconds/2) }

// datagrams measures how many of 64 bytes get through, when as many are sent as
// the sender can.
func (s *site) datagrams(n *network, seconds int, got reading) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d := shortly(seconds)
	target := n.serverAddr + ":9999"
	sink, err := s.start(n.server, self, "sink", target, "--seconds", strconv.Itoa(d))
	if err != nil {
		return err
	}
	defer sink.stop()
	if err := sink.expect(s.ctx, "ready", 5*time.Second); err != nil {
		return err
	}
	load := floodWarmUp + time.Duration(d)*time.Second + floodExtra
	out, err := s.run(n.client, load+15*time.Second, self, "flood", target, "--seconds", fmt.Sprint(load.Seconds()))
	if err != nil {
		return err
	}
	sent, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	if err != nil {
		return fmt.Errorf("flood: %w", err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	select {
	case <-sink.done:
	case <-ctx.Done():
		return errors.New("the sink does not end")
	}
	// Between "ready" and the report may be lines of the runtime's.
	report := sink.out.String()
	var c counted
	if err := json.Unmarshal([]byte(report[max(0, strings.LastIndexByte(report, '{')):]), &c); err != nil || sink.err != nil {
		return fmt.Errorf("sink: %w%s", errors.Join(sink.err, err), said(report))
	}
	got[floodRate] = float64(c.Received) / c.Seconds / 1e3
	got[floodSent] = sent / 1e3
	if c.Received > 0 {
		got[floodLost] = 100 * float64(c.Lost) / float64(c.Lost+c.Received)
		got[floodLate] = 100 * float64(c.Late) / float64(c.Received)
	}
	return nil
}

// iperfDatagrams is the same by iperf3, whose figure others quote.
func (s *site) iperfDatagrams(n *network, seconds int, got reading) error {
	d := shortly(seconds)
	st, err := s.iperf(n, time.Duration(d)*time.Second, "-u", "-b", "0", "-l", strconv.Itoa(datagramSize), "-t", strconv.Itoa(d))
	if err != nil {
		return err
	}
	got[iperfRate] = st.bitsPerSecond / 8 / datagramSize / 1e3
	return nil
}
