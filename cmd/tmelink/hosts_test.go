package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tmelink/internal/nstest"
)

// lan makes hosts on one Ethernet, 192.168.0.1/24 and on, as the examples have them.
func lan(t *testing.T, n int) []*nstest.Host {
	t.Helper()
	wire := nstest.New(t, "lan")
	wire.IP("link", "add", "br0", "type", "bridge")
	wire.IP("link", "set", "br0", "up")
	hosts := make([]*nstest.Host, n)
	for i := range hosts {
		hosts[i] = nstest.New(t, fmt.Sprintf("h%d", i+1))
		port := fmt.Sprintf("p%d", i+1)
		nstest.Cable(t, wire, port, "", hosts[i], "eth0", fmt.Sprintf("192.168.0.%d/24", i+1))
		wire.IP("link", "set", port, "master", "br0")
	}
	return hosts
}

// withCommands writes an example anew with commands at its end and gives its
// name; edits are pairs of a text in the example and what stands there instead.
func withCommands(t *testing.T, example string, commands []string, edits ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", example))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(string(text), edits[i]) {
			t.Fatalf("%s does not contain %q", example, edits[i])
		}
	}
	name := filepath.Join(t.TempDir(), filepath.Base(example))
	changed := strings.NewReplacer(edits...).Replace(string(text)) + "\n" + strings.Join(commands, "\n") + "\n"
	if err := os.WriteFile(name, []byte(changed), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

var answer = regexp.MustCompile(`(?m)^(?:\w+: )?\d+ bytes from ([0-9.a-f:]+): icmp_seq=(\d+) `)

// answered fails the test unless each address has answered a ping in a
// program's output, and no sequence number of one ping came twice.
func answered(t *testing.T, who, output string, addrs ...string) {
	t.Helper()
	got := map[string]int{}
	twice := map[string]bool{}
	for _, m := range answer.FindAllStringSubmatch(output, -1) {
		got[m[1]]++
		if key := m[1] + " " + m[2]; twice[key] {
			t.Errorf("%s: %s answered sequence number %s twice", who, m[1], m[2])
		} else {
			twice[key] = true
		}
	}
	for _, a := range addrs {
		if got[a] == 0 {
			t.Errorf("%s: %s has not answered", who, a)
		}
	}
	if strings.Contains(output, "DUP") {
		t.Errorf("%s: answers came twice:\n%s", who, output)
	}
}
