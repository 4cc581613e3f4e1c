package hostnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// NAT is a wish for network address translation: what stations behind a TAP
// device send from its networks leaves by an uplink under the uplink's address.
type NAT struct {
	Networks []netip.Prefix // of the TAP device, IPv4 or IPv6
	Uplink   string         // an interface; "" is the default route's, of each IP version its own
}

// Translation is what Masquerade brought about for one network.
type Translation struct {
	Network netip.Prefix
	Uplink  string // "" where there is none
	// Why says why there is none.
	Why string
}

// Masquerade carries out a wish: a masquerading rule in the journal's own table,
// and forwarding on the TAP device and the uplink. A network without a default
// route goes untranslated. Another table's forward policy that drops what is to
// be forwarded is left alone, and log tells what would open it.
func (c *Changes) Masquerade(ctx context.Context, nat NAT, log *slog.Logger) ([]Translation, error) {
	unlock, err := c.ns.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var all []Translation
	for _, network := range nat.Networks {
		t := Translation{Network: network.Masked()}
		if t.Uplink, t.Why, err = c.uplink(network.Addr().Is6(), nat.Uplink); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	wanted := slices.DeleteFunc(slices.Clone(all), func(t Translation) bool { return t.Uplink == "" })
	if len(wanted) == 0 {
		return all, nil
	}
	if err := c.addRules(wanted); err != nil {
		return nil, err
	}
	tables, err := c.ns.tables()
	if err != nil {
		return nil, err
	}
	for _, t := range wanted {
		if err := c.forward(t, c.without(tables), log); err != nil {
			return nil, err
		}
	}
	return all, c.warnOfPolicies(wanted, log)
}

// addRules makes the table, if the journal has not made it, and the NAT chain.
func (c *Changes) addRules(wanted []Translation) error {
	nft, err := c.ns.nft()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: c.table(), Family: nftables.TableFamilyINet}
	if !c.written {
		o, err := self()
		if err != nil {
			return err
		}
		t = addTable(nft, c.table(), o)
	}
	chain := nft.AddChain(&nftables.Chain{
		Name:     "postrouting",
		Table:    t,
		Type:     nftables.ChainTypeNAT,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityNATSource,
	})
	for _, w := range wanted {
		nft.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: masquerade(w)})
	}
	if err := nft.Flush(); err != nil {
		if noNftables(err) || errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("make nftables table %s: %w (the kernel needs nf_tables and nft_masq; `nat none` goes without)", c.table(), err)
		}
		return fmt.Errorf("make nftables table %s: %w", c.table(), explain(err))
	}
	c.written = true
	return nil
}

// masquerade is the rule `ip saddr NETWORK oifname UPLINK masquerade`, or with
// ip6 in place of ip.
func masquerade(t Translation) []expr.Any {
	family, offset, size := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4) // RFC 791, 3.1
	if t.Network.Addr().Is6() {
		family, offset, size = unix.NFPROTO_IPV6, 8, 16 // RFC 8200, 3
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: ipNet(t.Network).Mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: t.Network.Addr().AsSlice()},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(t.Uplink)},
		&expr.Masq{},
	}
}

// ifname is an interface's name as the kernel compares it, NULs behind it.
func ifname(name string) []byte {
	var b [unix.IFNAMSIZ]byte
	copy(b[:], name)
	return b[:]
}
