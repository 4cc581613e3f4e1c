package transport

import (
	"errors"
	"net"
)

// journal is not had on Windows, nor is it by OpenVPN.
type journal struct{}

func openJournal(string) (*journal, error) {
	return nil, errors.New("journal: its files' names have a colon, which Windows does not allow; leave the directory out")
}

func (*journal) add(client, own net.Addr) (name string, err error) { return "", nil }
func (*journal) remove(string)                                     {}
func (*journal) close()                                            {}
