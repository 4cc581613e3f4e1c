//go:build unix

package main

import (
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestStandardIO joins two runs by their standard inputs and outputs, as ssh and
// dpipe do. What the commands of one say goes to standard error; its end is that of
// the other.
func TestStandardIO(t *testing.T) {
	const host = "le0: tme/ic/am7990 netmask 255.255.255.0 inet 10.0.0."
	const cable = "\ns0 at le0: tme/host/stdio\n"
	var saidA, saidB nstest.Buffer
	a := exec.Command("tmelink", "run", "--once", write(t, "a.tme", host+"1"+cable+"command le0 ping 10.0.0.2 count 2\n"))
	b := exec.Command("tmelink", "run", write(t, "b.tme", host+"2"+cable))
	a.Stderr, b.Stderr = &saidA, &saidB
	inA, outA := pipes(t, a)
	inB, outB := pipes(t, b)
	for _, cmd := range []*exec.Cmd{a, b} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
	}
	carried := make(chan struct{}, 2)
	for _, way := range []struct {
		to   io.WriteCloser
		from io.ReadCloser
	}{{inB, outA}, {inA, outB}} {
		go func() {
			defer way.to.Close()
			io.Copy(way.to, way.from)
			carried <- struct{}{}
		}()
	}
	for _, cmd := range []*exec.Cmd{a, b} {
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%v: %v", cmd.Args, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%v does not end; it says:\n%s%s", cmd.Args, saidA.String(), saidB.String())
		}
	}
	<-carried
	<-carried
	if !strings.Contains(saidA.String(), "bytes from 10.0.0.2: icmp_seq=") || !strings.Contains(saidA.String(), "2 packets transmitted") {
		t.Errorf("a says:\n%s\nb says:\n%s", saidA.String(), saidB.String())
	}
}

// pipes are the ends of a program's standard input and output.
func pipes(t *testing.T, cmd *exec.Cmd) (in io.WriteCloser, out io.ReadCloser) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	return in, out
}
