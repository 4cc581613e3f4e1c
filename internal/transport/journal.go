//go:build !windows

package transport

import (
	"fmt"
	"net"
	"os"
)

// journal is a directory of OpenVPN's --port-share: a file named after a
// connection's address towards the server, as the server sees it, has the client's
// address in it.
type journal struct{ root *os.Root }

func openJournal(dir string) (*journal, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &journal{root}, nil
}

// add makes the file for a connection (journal_add in OpenVPN's ps.c): its user may
// write it, its group read it.
func (j *journal) add(client, own net.Addr) (name string, err error) {
	name = journalName(own)
	f, err := j.root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	_, err = f.WriteString(journalName(client))
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		j.remove(name)
		return "", fmt.Errorf("journal: %w", err)
	}
	return name, nil
}

func (j *journal) remove(name string) { j.root.Remove(name) }
func (j *journal) close()             { j.root.Close() }

// journalName writes an address as print_openvpn_sockaddr in OpenVPN's socket.h does.
func journalName(a net.Addr) string {
	addr := a.(*net.TCPAddr).AddrPort()
	family := "AF_INET"
	if addr.Addr().Is6() {
		family = "AF_INET6"
	}
	return fmt.Sprintf("[%s]%s:%d", family, addr.Addr(), addr.Port())
}
