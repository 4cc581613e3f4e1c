package unixsock

import "tmelink/internal/ethernet"

// datagramIO cannot be had on this platform.
type datagramIO struct{}

func (d *Datagrams) init() error                        { return errNoDatagrams }
func (d *Datagrams) receive() ([]ethernet.Frame, error) { return nil, errNoDatagrams }
func (d *Datagrams) send([]ethernet.Frame) error        { return errNoDatagrams }
func (d *Datagrams) closeMore()                         {}

func (d *Datagrams) setPeer(string) {}

// Connect cannot be had either.
func (d *Datagrams) Connect(string) error { return errNoDatagrams }
