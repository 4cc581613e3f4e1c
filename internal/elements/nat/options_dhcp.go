package nat

import (
	"net/netip"
	"path/filepath"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// dnsMode says whom guests' names are asked of.
type dnsMode uint8

const (
	dnsHost  dnsMode = iota // the host's name servers
	dnsGiven                // those that the description gives
	dnsOff
)

// dhcpConfig is what the arguments say of what guests are told.
type dhcpConfig struct {
	from, to    netip.Addr // the range of addresses; not valid: none
	leases      map[ethernet.Addr]netip.Addr
	dns         dnsMode
	dnsSaid     bool
	nameservers []netip.Addr
	domain      string
	nextServer  netip.Addr
	bootFile    string
	tftpDir     string

	// for faults that need several words
	rangeAt, nextServerAt, bootFileAt, domainAt element.Values
	leasesAt                                    []element.Values
}

func (c *config) dhcpOptions(env element.Env) []element.Option {
	return []element.Option{
		{Name: "dhcp", Values: "FROM-TO", Doc: "Give the addresses of this range, such as 10.0.77.10-10.0.77.99, to guests that ask by DHCP or BOOTP, with the gateway, the name server, the domain and the MTU. A guest gets the same address again as long as there are fresh ones for others.",
			Set: c.setRange},
		{Name: "lease", Values: "MAC=ADDR", Repeat: true, Doc: "Give the guest with this hardware address always this address, by DHCP and BOOTP, and by RARP.",
			Set: c.setLease},
		{Name: "dns", Values: "ADDR|host|off", Repeat: true, Doc: "Whom the gateway asks when guests ask it for names, over UDP or TCP at its own address: the name servers in this computer's /etc/resolv.conf (host, the default), or up to three others, also such that only this computer reaches. With off it answers no queries, and guests are told of no name server.",
			Set: c.setDNS},
		{Name: "domain", Values: "NAME", Doc: "The domain in which guests look for names without a dot, told by DHCP.",
			Set: func(v element.Values) error {
				c.domainAt = v
				c.domain = v.Text(0)
				n := ethernet.Network{Domain: c.domain}
				if c.domain == "" || n.Check() != nil {
					return v.Faultf(0, "%q is not a domain name", c.domain)
				}
				return nil
			}},
		{Name: "next-server", Values: "ADDR", Doc: "The server of the boot file, told by DHCP and BOOTP. Default: the gateway.",
			Set: func(v element.Values) (err error) {
				c.nextServerAt = v
				c.nextServer, err = v.Addr4(0)
				return err
			}},
		{Name: "boot-file", Values: "NAME", Doc: "The name of the file that guests boot from, at most 127 bytes, told by DHCP and BOOTP.",
			Set: func(v element.Values) error {
				c.bootFileAt = v
				if c.bootFile = v.Text(0); c.bootFile == "" || len(c.bootFile) > 127 {
					return v.Faultf(0, "the name of a boot file has 1 to 127 bytes")
				}
				return nil
			}},
		{Name: "tftp", Values: "DIR", Doc: "Give the files of this folder, and of those in it, to guests that read them by TFTP at the gateway's address (RFC 1350, mode octet, with the options blksize and tsize). Nothing leads out of the folder, and nothing is written.",
			Set: func(v element.Values) error {
				if c.tftpDir = v.Text(0); !filepath.IsAbs(c.tftpDir) {
					c.tftpDir = filepath.Join(env.Dir, c.tftpDir)
				}
				return nil
			}},
	}
}

// maxRange is how many addresses there are to be given.
const maxRange = 4096

func (c *config) setRange(v element.Values) error {
	c.rangeAt = v
	from, to, _ := strings.Cut(v.Text(0), "-")
	first, err := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	switch {
	case err != nil || err2 != nil || !first.Is4() || !last.Is4():
		return v.Faultf(0, "%q is not a range of IPv4 addresses such as 10.0.77.10-10.0.77.99", v.Text(0))
	case last.Less(first):
		return v.Faultf(0, "the range ends before it begins")
	case number(last)-number(first) >= maxRange:
		return v.Faultf(0, "the range has more than %d addresses", maxRange)
	}
	c.from, c.to = first, last
	return nil
}

func (c *config) setLease(v element.Values) error {
	mac, addr, _ := strings.Cut(v.Text(0), "=")
	host, err := ethernet.ParseAddr(mac)
	a, err2 := netip.ParseAddr(addr)
	if err != nil || err2 != nil || host.IsGroup() || !a.Is4() {
		return v.Faultf(0, "%q is not a station's hardware address with its IPv4 address, such as 08:00:20:01:02:03=10.0.77.5", v.Text(0))
	}
	for other, at := range c.leases {
		if other == host || at == a {
			return v.Faultf(0, "%s has %s already", other, at)
		}
	}
	if c.leases == nil {
		c.leases = map[ethernet.Addr]netip.Addr{}
	}
	c.leases[host] = a
	c.leasesAt = append(c.leasesAt, v)
	return nil
}

func (c *config) setDNS(v element.Values) error {
	mode := dnsGiven
	switch v.Text(0) {
	case "host":
		mode = dnsHost
	case "off":
		mode = dnsOff
	default:
		a, err := netip.ParseAddr(v.Text(0))
		if err != nil || a.IsUnspecified() || a.IsMulticast() {
			return v.Faultf(0, "%q is neither a name server's address nor host nor off", v.Text(0))
		}
		if c.nameservers = append(c.nameservers, a); len(c.nameservers) > maxNameservers {
			return v.Faultf(0, "no more than %d name servers are asked", maxNameservers)
		}
	}
	if c.dnsSaid && (mode != dnsGiven || c.dns != dnsGiven) {
		return v.Faultf(0, "dns is given already; several can be given only as addresses")
	}
	c.dns, c.dnsSaid = mode, true
	return nil
}

// checkDHCP says whether the words of DHCP fit the network.
func (c *config) checkDHCP() (faults []error) {
	serves := c.rangeAt.Name.Text != "" || len(c.leases) > 0
	for _, v := range []element.Values{c.nextServerAt, c.bootFileAt, c.domainAt} {
		if v.Name.Text != "" && !serves {
			faults = append(faults, v.Faultf(0, "it is told by DHCP: give dhcp FROM-TO or lease MAC=ADDR too"))
		}
	}
	check := func(v element.Values, addrs ...netip.Addr) {
		if !c.net4.IsValid() {
			faults = append(faults, v.Faultf(0, "it needs inet"))
			return
		}
		for _, a := range addrs {
			if err := c.checkGuest(a); err != nil {
				faults = append(faults, v.Faultf(0, "%v", err))
				return
			}
		}
	}
	if c.from.IsValid() {
		check(c.rangeAt, c.from, c.to)
	}
	for _, v := range c.leasesAt {
		_, addr, _ := strings.Cut(v.Text(0), "=")
		check(v, netip.MustParseAddr(addr))
	}
	return faults
}

// dnsFor are the name servers that guests are told of.
func (c *config) dnsFor(is4 bool) []netip.Addr {
	gateway := c.net6
	if is4 {
		gateway = c.net4
	}
	if c.dns == dnsOff || !gateway.IsValid() {
		return nil
	}
	return []netip.Addr{gateway.Addr()}
}

// bootServer is the server of the boot file.
func (c *config) bootServer() netip.Addr {
	if c.nextServer.IsValid() {
		return c.nextServer
	}
	return c.net4.Addr()
}

// newDHCP makes the server of addresses, or nil where there are none to give.
func newDHCP(c *config) *dhcp {
	if !c.from.IsValid() && len(c.leases) == 0 {
		return nil
	}
	taken := map[netip.Addr]bool{c.net4.Addr(): true}
	for _, a := range c.leases {
		taken[a] = true
	}
	return &dhcp{gateway: c.net4, fixed: c.leases, pool: newPool(c.from, c.to, taken)}
}
