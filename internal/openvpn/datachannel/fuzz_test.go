package datachannel

import (
	"bytes"
	"testing"
)

func FuzzOpen(f *testing.F) {
	all := kinds()
	for i, k := range all {
		_, packets := sealedPackets(k, 1, 40)
		f.Add(byte(i), packets[0])
	}
	f.Add(byte(0), []byte{})
	f.Fuzz(func(t *testing.T, which byte, packet []byte) {
		k := all[int(which)%len(all)]
		half := randomHalf()
		o := NewOpener(k.suite, k.form, half, window())
		memory := append(boxed(packet), bytes.Repeat([]byte{0xdd}, Slack)...)
		if payload, err := o.Open(memory[:len(packet):len(memory)]); err == nil {
			t.Fatalf("opened without its key: %x", payload)
		}
		if !bytes.Equal(memory[len(packet):], bytes.Repeat([]byte{0xdd}, Slack)) {
			t.Fatal("what lies behind the packet has changed")
		}
		// The same as a payload comes through.
		s := NewSealer(k.suite, k.form, half)
		s.Begin(epoch)
		sealed := boxed(s.Seal(make([]byte, len(packet)+s.Overhead()+Slack), packet))
		if got, err := o.Open(sealed); err != nil || !bytes.Equal(got, packet) {
			t.Fatalf("%x, %v", got, err)
		}
	})
}
