package hostnet

import (
	"fmt"
	"log/slog"

	"github.com/google/nftables"
)

// warnOfPolicies tells of every forward chain of other tables whose policy is to
// drop: nftables lets through only what every chain lets through. Whether rules
// in the chain make an exception is not looked at.
func (c *Changes) warnOfPolicies(wanted []Translation, log *slog.Logger) error {
	nft, err := c.ns.nft()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	chains, err := nft.ListChains()
	if err != nil {
		return fmt.Errorf("list the nftables chains: %w", explain(err))
	}
	for _, ch := range chains {
		if !dropsForwarded(ch) {
			continue
		}
		for _, t := range wanted {
			if family, ok := familyFor(ch.Table.Family, t); ok {
				log.Warn("another firewall table drops what is forwarded, unless one of its rules lets it through",
					"table", family+" "+ch.Table.Name, "chain", ch.Name, "open-with", openWith(family, ch, c.link.Name, t.Uplink))
				break
			}
		}
	}
	return nil
}

func dropsForwarded(ch *nftables.Chain) bool {
	return ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward &&
		ch.Type == nftables.ChainTypeFilter && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
}

// familyFor gives the family's word in nft's language, if the family's chains
// see the packets of a translation.
func familyFor(f nftables.TableFamily, t Translation) (string, bool) {
	switch f {
	case nftables.TableFamilyINet:
		return "inet", true
	case nftables.TableFamilyIPv4:
		return "ip", t.Network.Addr().Is4()
	case nftables.TableFamilyIPv6:
		return "ip6", t.Network.Addr().Is6()
	}
	return "", false
}

// openWith is the command that lets both directions through a chain.
func openWith(family string, ch *nftables.Chain, tap, uplink string) string {
	rule := fmt.Sprintf("nft insert rule %s %q %q", family, ch.Table.Name, ch.Name)
	return fmt.Sprintf("%s iifname %q oifname %q accept; %s iifname %q oifname %q ct state established,related accept",
		rule, tap, uplink, rule, uplink, tap)
}
