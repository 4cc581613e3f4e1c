package nat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"tmelink/internal/netstack"
)

// TFTP (RFC 1350, with the options of RFC 2347) gives the files of one folder.

const (
	tftpPort = 69

	tftpRead  = 1
	tftpWrite = 2
	tftpData  = 3
	tftpAck   = 4
	tftpError = 5
	tftpOAck  = 6

	// Codes of errors.
	tftpUndefined = 0
	tftpNotFound  = 1
	tftpDenied    = 2
	tftpIllegal   = 4

	tftpBlock    = 512   // without option blksize
	tftpBlockMin = 8     // RFC 2348
	tftpBlockMax = 65464 // RFC 2348

	// maxTransfers bounds how many files are read at one time.
	maxTransfers = 64
	// tftpPatience is how long an acknowledgement may take before a block is
	// sent again, and tftpTries how often it is sent.
	tftpPatience = time.Second
	tftpTries    = 6
)

// tftp is the server of files.
type tftp struct {
	root *os.Root

	mu   sync.Mutex
	busy map[netip.AddrPort]bool // who reads a file now
}

// tftpRequest is a request to read.
type tftpRequest struct {
	name     string
	block    int // bytes of a block
	hasBlock bool
	hasSize  bool
}

// tftpFault is an error that the client is told.
type tftpFault struct {
	code uint16
	text string
}

func (f *tftpFault) Error() string { return f.text }

// parseTFTP reads a request.
func parseTFTP(b []byte) (r tftpRequest, err error) {
	if len(b) < 2 {
		return r, errors.New("it has no operation")
	}
	switch binary.BigEndian.Uint16(b) {
	case tftpRead:
	case tftpWrite:
		return r, &tftpFault{tftpDenied, "files can only be read"}
	default:
		return r, errors.New("it is no request")
	}
	words := strings.Split(string(b[2:]), "\x00")
	if len(words) < 3 || len(b) > tftpBlock { // RFC 2347
		return r, &tftpFault{tftpIllegal, "the request is broken"}
	}
	if !strings.EqualFold(words[1], "octet") {
		return r, &tftpFault{tftpUndefined, "only mode octet is known"}
	}
	r.name, r.block = strings.TrimLeft(words[0], "/"), tftpBlock
	for words = words[2:]; len(words) >= 3; words = words[2:] {
		switch strings.ToLower(words[0]) {
		case "blksize":
			n, err := strconv.Atoi(words[1])
			if err != nil || n < tftpBlockMin {
				continue // an option that is not understood is left out of the answer
			}
			r.block, r.hasBlock = min(n, tftpBlockMax), true
		case "tsize":
			r.hasSize = true
		}
	}
	return r, nil
}

// request answers a datagram to the server's port.
func (t *tftp) request(n *NAT, d netstack.Datagram) {
	r, err := parseTFTP(bytes.Clone(d.Payload))
	var fault *tftpFault
	if err != nil && !errors.As(err, &fault) {
		return
	}
	t.mu.Lock()
	full, again := len(t.busy) >= maxTransfers, t.busy[d.From]
	if !full && !again {
		t.busy[d.From] = true
	}
	t.mu.Unlock()
	if again {
		return // the answer to its first request is on the way
	}
	if full {
		n.drop("too many files are read by TFTP at one time")
		return
	}
	done := func() {
		t.mu.Lock()
		delete(t.busy, d.From)
		t.mu.Unlock()
	}
	if !n.spawn(func() {
		defer done()
		t.serve(n, d.From, r, fault)
	}) {
		done()
	}
}

// serve sends a file, or why not, from a port of its own.
func (t *tftp) serve(n *NAT, to netip.AddrPort, r tftpRequest, fault *tftpFault) {
	c, err := n.host.DialUDP(to)
	if err != nil {
		return
	}
	defer c.Close()
	var f *os.File
	var size int64
	if fault == nil {
		f, size, fault = t.open(r.name)
	}
	if fault != nil {
		n.env.Log.Info("a file is not given by TFTP", "peer", to, "file", r.name, "err", fault)
		b := binary.BigEndian.AppendUint16([]byte{0, tftpError}, fault.code)
		// A client that does not hear it asks again.
		c.Write(append(append(b, fault.text...), 0))
		return
	}
	defer f.Close()
	if err := sendFile(c, f, size, r); err != nil {
		n.env.Log.Info("a file was not read to its end by TFTP", "peer", to, "file", r.name, "err", err)
	}
}

// open opens a file of the folder. Neither .. nor symbolic links lead out of it.
func (t *tftp) open(name string) (*os.File, int64, *tftpFault) {
	f, err := t.root.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, &tftpFault{tftpNotFound, "there is no such file"}
		}
		return nil, 0, &tftpFault{tftpDenied, "the file cannot be read"}
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, &tftpFault{tftpDenied, "it is not a file"}
	}
	return f, info.Size(), nil
}

// sendFile sends a file block by block; the number of a block begins anew after
// 65535.
func sendFile(c net.Conn, f io.Reader, size int64, r tftpRequest) error {
	ours := []byte{0, tftpOAck}
	if r.hasBlock {
		ours = fmt.Appendf(ours, "blksize\x00%d\x00", r.block)
	}
	if r.hasSize {
		ours = fmt.Appendf(ours, "tsize\x00%d\x00", size)
	}
	if len(ours) > 2 {
		if err := sendBlock(c, ours, 0); err != nil {
			return err
		}
	}
	packet := make([]byte, 4+r.block)
	for number := uint16(1); ; number++ {
		read, err := io.ReadFull(f, packet[4:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		binary.BigEndian.PutUint16(packet, tftpData)
		binary.BigEndian.PutUint16(packet[2:], number)
		if err := sendBlock(c, packet[:4+read], number); err != nil {
			return err
		}
		if read < r.block {
			return nil
		}
	}
}

// sendBlock sends a packet until it is acknowledged. An acknowledgement of another
// block is no reason to send anything (RFC 1123, 4.2.3.1).
func sendBlock(c net.Conn, packet []byte, number uint16) error {
	var answer [tftpBlock]byte
	for range tftpTries {
		if _, err := c.Write(packet); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(tftpPatience))
		for {
			n, err := c.Read(answer[:])
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return err
			}
			if n < 4 {
				continue
			}
			switch binary.BigEndian.Uint16(answer[:]) {
			case tftpAck:
				if binary.BigEndian.Uint16(answer[2:]) == number {
					return nil
				}
			case tftpError:
				return fmt.Errorf("the client ends it: %q", bytes.TrimRight(answer[4:n], "\x00"))
			}
		}
	}
	return errors.New("the client is silent")
}
