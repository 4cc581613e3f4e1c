package hostnet

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The guard is a table of its own beside the journals, on kernels that forward
// IPv6 between all interfaces or none: it drops what is forwarded neither from
// nor to one of the TAP devices that needed forwarding. It names all of them,
// because what one chain drops no other can let through.
const guardTable = "tmelink"

// guard makes the guard let the named TAP devices through; without any it is
// removed. It replaces the one that is there in one transaction.
func (n *Namespace) guard(taps []string) error {
	nft, err := n.nft()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: guardTable, Family: nftables.TableFamilyINet}
	nft.AddTable(t) // so that there is one to delete
	nft.DelTable(t)
	if len(taps) > 0 {
		if err := addGuard(nft, nft.AddTable(t), taps); err != nil {
			return err
		}
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", guardTable, explain(err))
	}
	return nil
}

func addGuard(nft *nftables.Conn, t *nftables.Table, taps []string) error {
	// The byte order is for nft alone, which prints no name without it.
	set := &nftables.Set{Table: t, Name: "taps", KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	var elements []nftables.SetElement
	for _, name := range taps {
		elements = append(elements, nftables.SetElement{Key: ifname(name)})
	}
	if err := nft.AddSet(set, elements); err != nil {
		return fmt.Errorf("write nftables table %s: %w", guardTable, err)
	}
	chain := nft.AddChain(&nftables.Chain{
		Name:     "forward",
		Table:    t,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter,
	})
	verdict := func(kind expr.VerdictKind, match ...expr.Any) {
		nft.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: kind})})
	}
	ofSet := &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}
	verdict(expr.VerdictAccept,
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}})
	verdict(expr.VerdictAccept, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, ofSet)
	verdict(expr.VerdictAccept, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, ofSet)
	verdict(expr.VerdictDrop)
	return nil
}

// guarded names the TAP devices whose journals have the switch that makes a
// guard necessary.
func guarded(journals []table) (taps []string) {
	for _, t := range journals {
		if _, ok := findSwitch([]table{t}, allForwarding6); ok {
			taps = append(taps, strings.TrimPrefix(t.name, tablePrefix))
		}
	}
	return taps
}
