package bpf

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func startNetns(t *testing.T, text string) *Netns {
	t.Helper()
	log := &nstest.Buffer{}
	n, err := buildNetns(text, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s logged:\n%s", text, log)
		}
	})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// join carries frames between two ports until they are closed.
func join(t *testing.T, a, b ethernet.Port) {
	done := make(chan error, 2)
	for _, way := range [][2]ethernet.Port{{a, b}, {b, a}} {
		go func() {
			for {
				frames, err := way[0].ReadFrames()
				if err == nil {
					err = way[1].WriteFrames(frames)
				}
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
		for range 2 {
			if err := <-done; err != net.ErrClosed {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

// Two namespaces reach each other through two elements, and the host sees nothing.
func TestNetns(t *testing.T) {
	alone(t)
	nstest.Need(t, "ping", "socat")
	before, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	left, right := nstest.New(t, "left"), nstest.New(t, "right")
	left.IP("link", "add", "eth0", "type", "veth", "peer", "name", "other") // the first name is taken
	a := startNetns(t, left.Name+" inet 10.0.77.1/24 inet fd00:77::1/64 hwaddr 02:00:00:00:00:05")
	b := startNetns(t, right.Name+" interface lan inet 10.0.77.2/24 inet fd00:77::2/64")
	join(t, a.port, b.port)
	if out := left.IP("addr", "show", "dev", "eth1"); !strings.Contains(out, "02:00:00:00:00:05") || !strings.Contains(out, "inet 10.0.77.1/24") || !strings.Contains(out, "inet6 fd00:77::1/64") {
		t.Errorf("the interface is\n%s", out)
	}
	left.Run("ping", "-c", "3", "-i", "0.2", "-w", "20", "10.0.77.2")
	right.Run("ping", "-6", "-c", "3", "-i", "0.2", "-w", "20", "fd00:77::1")
	// Super-frames: a megabyte by TCP.
	listener := right.Start("socat", "-u", "TCP-LISTEN:7000", "SYSTEM:wc -c")
	if !nstest.Eventually(wait, func() bool {
		_, err := left.Try("sh", "-c", "head -c 1000000 /dev/zero | socat -u - TCP:10.0.77.2:7000")
		return err == nil
	}) {
		t.Fatal("no connection")
	}
	listener.Expect(t, "1000000", wait)
	for _, e := range []*Netns{a, b} {
		if read, write := e.port.Counters().Read.Total(), e.port.Counters().Write.Total(); read+write > 0 {
			t.Errorf("dropped: read %v, write %v", drops(&e.port.Counters().Read), drops(&e.port.Counters().Write))
		}
	}
	if after, _ := exec.Command("ip", "-o", "link").Output(); string(after) != string(before) {
		t.Errorf("the host's interfaces are\n%sbefore they were\n%s", after, before)
	}
	if got := a.Status(); got != "interface eth1 in network namespace "+left.Name {
		t.Error(got)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if out := left.IP("-o", "link"); strings.Contains(out, "eth1") {
		t.Errorf("after Close there are\n%s", out)
	}
}

func TestNetnsStartFails(t *testing.T) {
	alone(t)
	lab := nstest.New(t, "lab")
	startNetns(t, lab.Name+" interface eth7")
	for text, want := range map[string]string{
		"nosuch":                     "make it with `ip netns add nosuch`",
		lab.Name + " interface eth7": "there is one of that name already",
	} {
		e, err := buildNetns(text, &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An interface that goes ends the connection with an error that says so.
func TestNetnsInterfaceGoes(t *testing.T) {
	alone(t)
	lab := nstest.New(t, "lab")
	e := startNetns(t, lab.Name+" interface eth7")
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := e.port.ReadFrames(); err != nil {
				ended <- err
				return
			}
		}
	}()
	lab.IP("link", "del", "eth7")
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), `interface "eth7" is gone`) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(wait):
		t.Fatal("the reader still waits")
	}
}
