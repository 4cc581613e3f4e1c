package bpf

import (
	"testing"

	insn "golang.org/x/net/bpf"

	"tmelink/internal/ethernet"
)

// run puts a frame for dst through a filter's program.
func run(t *testing.T, f *ethernet.Filter, dst ethernet.Addr) bool {
	t.Helper()
	raw, err := assemble(f)
	if err != nil {
		t.Fatal(err)
	}
	prog, all := insn.Disassemble(raw)
	if !all {
		t.Fatal("the program cannot be read back")
	}
	vm, err := insn.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 60)
	copy(frame, dst[:])
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	if n != 0 && n < ethernet.MaxFrameLen {
		t.Fatalf("a frame is cut to %d bytes", n)
	}
	return n != 0
}

func TestKernelFilter(t *testing.T) {
	group := ethernet.Addr{1, 0, 0x5e, 0, 0, 1}
	filter := func(n int) *ethernet.Filter {
		f := &ethernet.Filter{}
		f.Add(group)
		for i := range n {
			f.Add(addr(i))
		}
		return f
	}
	promiscuous := filter(1)
	promiscuous.SetPromiscuous(true)
	for _, c := range []struct {
		name   string
		filter *ethernet.Filter
		dst    ethernet.Addr
		want   bool
	}{
		{"no filter", nil, addr(9), true},
		{"fresh filter, unicast", &ethernet.Filter{}, addr(9), false},
		{"fresh filter, broadcast", &ethernet.Filter{}, ethernet.Broadcast, true},
		{"multicast is let through for user land to judge", filter(1), ethernet.Addr{1, 2, 3, 4, 5, 6}, true},
		{"own address", filter(1), addr(0), true},
		{"another's address", filter(1), addr(1), false},
		{"same low part", filter(1), ethernet.Addr{6, 0, 0, 0, 0, 0}, false},
		{"same high part", filter(2), addr(2), false},
		{"first of many", filter(maxFiltered), addr(0), true},
		{"middle of many", filter(maxFiltered), addr(maxFiltered / 2), true},
		{"last of many", filter(maxFiltered), addr(maxFiltered - 1), true},
		{"none of many", filter(maxFiltered), addr(maxFiltered), false},
		{"broadcast beside many", filter(maxFiltered), ethernet.Broadcast, true},
		{"too many to filter", filter(maxFiltered + 1), addr(maxFiltered + 5), true},
		{"promiscuous", promiscuous, addr(9), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(t, c.filter, c.dst); got != c.want {
				t.Errorf("the filter says %v to %v", got, c.dst)
			}
		})
	}
}
