//go:build !windows

package transport

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if text, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil {
			found[e.Name()] = string(text)
		}
	}
	return found
}

func TestTheJournalTellsWhoIsPassedOn(t *testing.T) {
	s := newTarget(t)
	s.share.Journal = t.TempDir()
	l := listen(t, ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient})
	var clients, servers []*net.TCPConn
	want := map[string]string{}
	for _, a := range []string{"127.0.0.5", "127.0.0.6"} {
		client := dialFrom(t, a, l.Local())
		io.WriteString(client, "GET")
		server := s.takes(t)
		expect(t, server, "GET") // then the file is there
		clients, servers = append(clients, client), append(servers, server)
		want["[AF_INET]"+server.RemoteAddr().String()] = "[AF_INET]" + client.LocalAddr().String()
	}
	if got := files(t, s.share.Journal); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the journal is %v, want %v", got, want)
	}
	for name := range want {
		info, err := os.Stat(filepath.Join(s.share.Journal, name))
		if err != nil || info.Mode().Perm()&^0o640 != 0 || info.Mode().Perm()&0o600 != 0o600 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	servers[0].SetLinger(0) // a reset
	servers[0].Close()
	isClosed(t, clients[0])
	clients[0].Close()
	gone := "[AF_INET]" + servers[0].RemoteAddr().String()
	eventually(t, "one file to go", func() bool {
		got := files(t, s.share.Journal)
		_, there := got[gone]
		return !there && len(got) == 1
	})
	l.Close()
	if got := files(t, s.share.Journal); len(got) > 0 {
		t.Errorf("after the end the journal is %v", got)
	}
}

func TestTheJournalStaysInItsDirectory(t *testing.T) {
	if _, err := openJournal(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a directory that is not there: %v", err)
	}
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(outside, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	own := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1).To4(), Port: 7}
	if err := os.Symlink(outside, filepath.Join(dir, journalName(own))); err != nil {
		t.Fatal(err)
	}
	if _, err := j.add(own, own); err == nil {
		t.Error("a link out of the directory is followed")
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "kept" {
		t.Errorf("outside there is now %q, %v", text, err)
	}
	for want, ip := range map[string]string{"[AF_INET]10.0.0.1:7": "10.0.0.1", "[AF_INET6]fd00::1:7": "fd00::1", "[AF_INET6]::ffff:10.0.0.1:7": "::ffff:10.0.0.1"} {
		addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 7))
		if got := journalName(addr); got != want {
			t.Errorf("%s is %q, want %q", ip, got, want)
		}
	}
}

// TestCloseInTheMiddle: whatever is going on, the last link ends all of it.
func TestCloseInTheMiddle(t *testing.T) {
	s := newTarget(t)
	s.share.Journal = t.TempDir()
	at := freeAddr(t)
	c := ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient}
	c.Local = at
	first, second := listen(t, c), listen(t, c)
	web := dialFrom(t, "127.0.0.1", at)
	io.WriteString(web, "GET")
	server := s.takes(t)
	expect(t, server, "GET")
	first.Close()
	io.WriteString(web, " /") // it is the second's as well
	expect(t, server, " /")
	silent, begun := dialFrom(t, "127.0.0.1", at), dialFrom(t, "127.0.0.1", at)
	begun.Write([]byte{0})
	blocked := dialFrom(t, "127.0.0.1", at)
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			if _, err := blocked.Write(bytes.Repeat([]byte("GET"), 10000)); err != nil {
				return
			}
		}
	})
	s.takes(t) // and does not read
	second.Close()
	for _, conn := range []*net.TCPConn{web, silent, begun, blocked, server} {
		isClosed(t, conn)
	}
	writing.Wait()
	if got := files(t, s.share.Journal); len(got) > 0 {
		t.Errorf("the journal has %v", got)
	}
}
