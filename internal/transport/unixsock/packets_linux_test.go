package unixsock

import (
	"net"
	"path/filepath"
	"testing"

	"tmelink/internal/ethernet"
)

// packetPeer is a connection that knows nothing of frames, and our end of it.
func packetPeer(t *testing.T, c Config) (ours Conn, peer *net.UnixConn) {
	t.Helper()
	at := Address{"unixpacket", filepath.Join(t.TempDir(), "s")}
	l, err := Listen(at, 0o600, c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Its own path is not asked for.
	peer, err = net.DialUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: at.Text + "peer"}, &net.UnixAddr{Net: "unixpacket", Name: at.Text})
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); peer.Close() })
	return ours, peer
}

// Empty and other packets that are no frames end nothing, as long as the other end
// is there; its end is no packet.
func TestPacketsThatAreNoFrames(t *testing.T) {
	c := testConfig()
	ours, peer := packetPeer(t, c)
	for _, packet := range [][]byte{nil, make([]byte, 13), make([]byte, 1523), make([]byte, 9000), nil} {
		if _, err := peer.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	peer.Write(numbered(1, 1, 60)[0].Data)
	collect(t, ours, 1, 1, 60)
	expectCounts(t, &c.Counters.Read, map[ethernet.Reason]uint64{ethernet.Runt: 3, ethernet.Oversize: 2})
	peer.Write(numbered(2, 1, 60)[0].Data)
	peer.Close()
	collect(t, ours, 2, 1, 60)
	if _, err := ours.ReadFrames(); err != ErrGone {
		t.Errorf("the end is %v", err)
	}
	expectCounts(t, &c.Counters.Read, map[ethernet.Reason]uint64{ethernet.Runt: 3, ethernet.Oversize: 2})
}

// A frame is one packet, whatever its length.
func TestPacketsAreFrames(t *testing.T) {
	ours, peer := packetPeer(t, testConfig())
	frames := append(numbered(0, 3, 14), numbered(3, 2, 1522)...)
	if err := ours.WriteFrames(frames); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for i, f := range frames {
		n, err := peer.Read(buf)
		if err != nil || string(buf[:n]) != string(f.Data) {
			t.Errorf("packet %d is % x, %v", i, buf[:n], err)
		}
	}
}
