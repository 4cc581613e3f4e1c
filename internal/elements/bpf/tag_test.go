package bpf

import (
	"bytes"
	"encoding/binary"
	"testing"

	"tmelink/internal/ethernet"
)

func TestTagIsPutBack(t *testing.T) {
	for _, tag := range []uint32{0, 0x81000005, 0x88a80ffe} {
		buf := make([]byte, ethernet.VLANLen+ethernet.HeaderLen+40)
		for i := range buf[ethernet.VLANLen:] {
			buf[ethernet.VLANLen+i] = byte(i)
		}
		plain := bytes.Clone(buf[ethernet.VLANLen:])
		want, wantShift := plain, 0
		if tag != 0 {
			want = append(binary.BigEndian.AppendUint32(bytes.Clone(plain[:12]), tag), plain[12:]...)
			wantShift = ethernet.VLANLen
		}
		if got, shift := restore(tag, buf); !bytes.Equal(got, want) || shift != wantShift {
			t.Errorf("%x: shift %d, frame\n%x, want\n%x", tag, shift, got, want)
		}
	}
}
