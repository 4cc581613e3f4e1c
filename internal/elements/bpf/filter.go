package bpf

import (
	insn "golang.org/x/net/bpf"

	"tmelink/internal/ethernet"
)

// whole is how much of a frame the kernel's filter lets through: all of it.
const whole = 1 << 18

// maxFiltered is for how many addresses of its own a station gets a kernel
// filter; above it the kernel lets everything through and Filter.Wants alone
// decides. It keeps the program within 8-bit jumps and the kernel's limits on
// its length and memory.
const maxFiltered = 60

// assemble makes the kernel's filter for a station: all broadcasts and
// multicasts, and unicasts to its addresses. It is coarser than Filter.Wants,
// which decides afterwards, and spares waking up for other stations' unicasts.
// Without a filter everything passes.
func assemble(f *ethernet.Filter) ([]insn.RawInstruction, error) {
	if f == nil || f.Promiscuous() {
		return insn.Assemble([]insn.Instruction{insn.RetConstant{Val: whole}})
	}
	var own []ethernet.Addr
	for _, a := range f.Addrs() {
		if !a.IsGroup() {
			own = append(own, a)
		}
	}
	if len(own) > maxFiltered {
		return insn.Assemble([]insn.Instruction{insn.RetConstant{Val: whole}})
	}
	// Four instructions an address; the last two of the program accept and reject.
	accept := uint8(2 + 4*len(own) + 1)
	prog := []insn.Instruction{
		insn.LoadAbsolute{Off: 0, Size: 1},
		insn.JumpIf{Cond: insn.JumpBitsSet, Val: 1, SkipTrue: accept - 2},
	}
	for _, a := range own {
		high := uint32(a[0])<<8 | uint32(a[1])
		low := uint32(a[2])<<24 | uint32(a[3])<<16 | uint32(a[4])<<8 | uint32(a[5])
		prog = append(prog,
			insn.LoadAbsolute{Off: 2, Size: 4},
			insn.JumpIf{Cond: insn.JumpNotEqual, Val: low, SkipTrue: 2},
			insn.LoadAbsolute{Off: 0, Size: 2},
			insn.JumpIf{Cond: insn.JumpEqual, Val: high, SkipTrue: accept - uint8(len(prog)) - 4},
		)
	}
	return insn.Assemble(append(prog, insn.RetConstant{Val: 0}, insn.RetConstant{Val: whole}))
}
