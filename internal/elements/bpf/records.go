package bpf

import (
	"encoding/binary"
	"errors"
)

// recordLayout is the shape of struct bpf_hdr (net/bpf.h), which differs
// between the systems in the time stamp that it begins with. Behind the stamp
// stand, in the byte order of the host:
//
//	0 bh_caplen uint32, 4 bh_datalen uint32, 8 bh_hdrlen uint16
type recordLayout struct {
	stamp int // bytes of the time stamp
	align int // BPF_ALIGNMENT: the next record begins at a multiple of it
}

var errRecord = errors.New("a record of /dev/bpf reaches beyond what was read")

// next splits the first record off what a read of /dev/bpf gave. data is the
// packet; whole says whether it is all of it. The error means that nothing
// behind can be made sense of either. buf is not empty.
func (l recordLayout) next(buf []byte) (data []byte, whole bool, rest []byte, err error) {
	if len(buf) < l.stamp+10 {
		return nil, false, nil, errRecord
	}
	captured := uint64(binary.NativeEndian.Uint32(buf[l.stamp:]))
	length := uint64(binary.NativeEndian.Uint32(buf[l.stamp+4:]))
	head := uint64(binary.NativeEndian.Uint16(buf[l.stamp+8:]))
	end := head + captured
	if head < uint64(l.stamp+10) || end > uint64(len(buf)) {
		return nil, false, nil, errRecord
	}
	align := uint64(l.align)
	following := min((end+align-1)/align*align, uint64(len(buf))) // the last one is not padded
	return buf[head:end:end], captured == length, buf[following:], nil
}
