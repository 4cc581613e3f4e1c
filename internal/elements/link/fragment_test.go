package link

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"tmelink/internal/ethernet"
)

func TestFragmentLimit(t *testing.T) {
	for _, c := range []struct {
		name     string
		fragment fragment
		path     path
		want     int // bytes of a packet
	}{
		{"without headers", fragment{1300, false}, path{overhead: 28}, 1300},
		{"with headers", fragment{1300, true}, path{overhead: 28}, 1272},
		{"with headers of IPv6", fragment{1300, true}, path{overhead: 48}, 1252},
		{"through a proxy", fragment{1300, false}, path{framing: 10, overhead: 38}, 1290},
		{"through a proxy, with headers", fragment{1300, true}, path{framing: 10, overhead: 38}, 1262},
		{"a short path", fragment{1300, false}, path{overhead: 28, mtu: 600}, 572},
		{"a path that takes more", fragment{1300, true}, path{overhead: 28, mtu: 1400}, 1272},
	} {
		if got := c.fragment.limit(c.path); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// The largest --tun-mtu is that whose frames fit a datagram of 65507 bytes with two tags,
// what the keys add, and the header of a relay.
func TestTheLargestMTU(t *testing.T) {
	secret := " --cipher AES-256-CBC --auth SHA512 --secret " + keyFolder(t) + "/static"
	const relayed = " --socks-proxy p"
	long := strings.Repeat("n", 253)
	for words, largest := range map[string]int{
		"--remote a":                                   65485,
		"--remote a" + secret:                          65485 - 64 - 16 - 16 - 8,
		"--remote a" + relayed:                         65485 - 22,
		"--remote 10.0.0.1" + relayed:                  65485 - 22,
		"--remote ::1" + relayed:                       65485 - 22,
		"--remote " + long + relayed:                   65485 - 260,
		"--remote a --remote " + long + relayed:        65485 - 260,
		"--remote " + long + relayed + secret:          65485 - 260 - 104,
		"--remote a --fragment 5000" + relayed:         65485,
		"--proto tcp-client --remote a" + relayed:      65485,
		"--remote b --remote a 1 tcp-client" + relayed: 65485 - 22,
	} {
		for mtu, ok := range map[int]bool{largest: true, largest + 1: false} {
			args, _ := argsOf(fmt.Sprintf("--nobind --tun-mtu %d %s", mtu, words))
			_, err := parse(args, "")
			want := fmt.Sprintf("1:10: --tun-mtu: %d is too large: over UDP a frame must fit a datagram", mtu)
			if mtu > maxMTU {
				want = fmt.Sprintf("is not a number from 100 to %d", maxMTU)
			}
			switch {
			case ok && err != nil:
				t.Errorf("%.60s: %v", words, err)
			case !ok && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprint(largest))):
				t.Errorf("%.60s, %d: %v", words, mtu, err)
			}
		}
	}
}

// large is a frame of a length with a number in it.
func large(n, length int) []byte {
	frame := append(numbered(n), make([]byte, length-60)...)
	for i := range frame[60:] {
		frame[60+i] = byte(i + n)
	}
	return frame
}

// carriesLarge has a link carry frames of many lengths to another.
func carriesLarge(t *testing.T, from, to *testLink, mtu int) {
	t.Helper()
	var frames [][]byte
	for i := range 40 {
		frames = append(frames, large(i, 60+(mtu+14-60)*i/39))
	}
	from.writeUntil("a first frame", func() bool { return len(to.got()) > 0 }, numbered(1<<20))
	before := len(to.got())
	from.write(frames...)
	eventually(t, "all frames", func() bool { return len(to.got()) >= before+len(frames) })
	got := to.got()
	for i, want := range frames {
		if f := got[len(got)-len(frames)+i]; !bytes.Equal(f, want) {
			t.Fatalf("frame %d has %d bytes, want %d, or others", i, len(f), len(want))
		}
	}
}

// TestFragmentsCarryLongFrames: with --fragment frames go that no packet is long enough
// for, in the clear and sealed, and with an MTU that is beyond any packet.
func TestFragmentsCarryLongFrames(t *testing.T) {
	secret := keyFolder(t) + "/static"
	for name, pair := range map[string]func(t *testing.T, words string) (a, b *testLink){
		"in the clear": func(t *testing.T, words string) (a, b *testLink) {
			a = start(t, "--local 127.0.0.1 --lport 0"+words)
			return a, start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", a.local().Port())+words)
		},
		"static key": func(t *testing.T, words string) (a, b *testLink) {
			words += " --cipher AES-256-CBC --auth SHA512 --secret " + secret
			a = start(t, "--local 127.0.0.1 --lport 0"+words)
			return a, start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", a.local().Port())+words)
		},
		"TLS": func(t *testing.T, words string) (a, b *testLink) { return keyedPair(t, words) },
	} {
		for _, c := range []struct {
			words string
			mtu   int
		}{{" --fragment 400", 1500}, {" --fragment 1300 mtu", 1500}, {" --fragment 1300 --tun-mtu 9000", 9000}, {" --fragment 4000 --tun-mtu 65485", 65485}} {
			t.Run(name+c.words, func(t *testing.T) {
				a, b := pair(t, c.words)
				carriesLarge(t, b, a, c.mtu)
				carriesLarge(t, a, b, c.mtu)
				if n := a.port.Counters().Read.Total() + b.port.Counters().Read.Total(); n > b.port.Counters().Read.Count(ethernet.Control)+a.port.Counters().Read.Count(ethernet.Control) {
					t.Errorf("%d dropped", n)
				}
			})
		}
	}
}

func TestLongFramesAreToldOnce(t *testing.T) {
	l := start(t, "--local 127.0.0.1 --lport 0")
	for range 3 {
		l.port.(ethernet.Bounded).TellOversize(4014)
	}
	if n := strings.Count(l.log.String(), "--tun-mtu at both ends"); n != 1 || !strings.Contains(l.log.String(), "frame=4014 most=1522") {
		t.Errorf("told %d times:\n%s", n, l.log)
	}
}
