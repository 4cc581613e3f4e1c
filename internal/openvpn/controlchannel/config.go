package controlchannel

import (
	"crypto/tls"
	"io"
	"log/slog"
	"time"

	"tmelink/internal/occasion"
	"tmelink/internal/openvpn/datachannel"
)

// Config is what a Channel is made of. Names in its comments are OpenVPN's options.
type Config struct {
	Server bool // --tls-server; else --tls-client
	// KnowsPeer says that a server's packets reach the peer before it is heard.
	KnowsPeer bool
	Wrapping  Wrapping
	// TLS has certificates and checks; it says who is let in. Its clock is
	// replaced.
	TLS     *tls.Config
	Options string // the option string of this end

	Ciphers  []*datachannel.Cipher // --data-ciphers
	Fallback *datachannel.Cipher   // --data-ciphers-fallback; nil: none
	Digest   *datachannel.Digest   // --auth
	// Window makes the window against replay of each key.
	Window func() datachannel.Window

	Pull           bool // --pull: the peer is a server that says what to do
	User, Password string
	Platform       string // for the server: "linux"
	MTU            int    // the largest that we take, in bytes

	// Settled hears what the server has said, before there are keys; it may be nil.
	Settled func(*Settings)

	MaxPacket    int           // --max-packet-size, bytes
	HandWindow   time.Duration // how long a negotiation may take
	TranWindow   time.Duration // how long an old key is good beside a new one
	Timeout      time.Duration // --tls-timeout
	RenegTime    time.Duration // a key is replaced after so long a time, 0: never,
	RenegBytes   uint64        // so many bytes, 0: never,
	RenegPackets uint64        // or so many packets, 0: never
	Single       bool          // --single-session: no second one

	Random io.Reader
	// Failing bounds the log lines on negotiations that have failed, also those of
	// Channels before this one; nil: this one's alone.
	Failing *occasion.Occasion
	Log     *slog.Logger
}
