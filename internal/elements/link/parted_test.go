package link

import (
	"testing"

	"tmelink/internal/ethernet"
)

// Whoever looks for stations beyond a link hears each time that its peer is lost.
func TestLossOfThePeerIsTold(t *testing.T) {
	const text = "--dev tap --local 127.0.0.1 --proto tcp-server --lport 21196"
	server := build(t, text)
	parted := make(chan struct{}, 100)
	server.port.(ethernet.Parting).OnParted(func() { parted <- struct{}{} })
	server.begin(text)
	for i := range 2 {
		client := start(t, "--dev tap --nobind --remote 127.0.0.1 21196 --proto tcp-client")
		had := len(server.got())
		client.writeUntil("a frame", func() bool { return len(server.got()) > had }, numbered(i))
		if n := len(parted); n != 0 {
			t.Errorf("a loss is told %d times while the peer is there", n)
		}
		if err := client.elem.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the loss to be told", func() bool { return len(parted) > 0 })
		<-parted
	}
}
