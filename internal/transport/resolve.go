package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ResolveHost gives the addresses of a family that a name or a written address
// stands for, at least one.
func ResolveHost(ctx context.Context, host string, family Family) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return ofFamily([]netip.Addr{a}, host, family)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %w: write an address, or correct the name", host, err)
	}
	return ofFamily(addrs, host, family)
}

// ResolveLocal is ResolveHost for an address of this host, which may also be
// the name of one of its interfaces.
func ResolveLocal(ctx context.Context, local string, family Family) ([]netip.Addr, error) {
	if IsInterface(local) {
		return InterfaceAddrs(local, family)
	}
	found, err := ResolveHost(ctx, local, family)
	var dns *net.DNSError
	if errors.As(err, &dns) {
		err = fmt.Errorf("no interface is named %q, and no host: %w", local, err)
	}
	return found, err
}

// IsInterface says whether a name is that of an interface of this host now.
func IsInterface(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// InterfaceAddrs gives the addresses of a family that an interface has, at least one;
// those of IPv6 that are link-local are the last.
func InterfaceAddrs(name string, family Family) ([]netip.Addr, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("look for interface %s: %w", name, err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of interface %s: %w", name, err)
	}
	var found, linkLocal []netip.Addr
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		addr := prefix.Addr()
		if addr.Is6() && addr.IsLinkLocalUnicast() {
			linkLocal = append(linkLocal, addr.WithZone(name))
			continue
		}
		found = append(found, addr)
	}
	return ofFamily(append(found, linkLocal...), "interface "+name, family)
}

func ofFamily(addrs []netip.Addr, whose string, family Family) ([]netip.Addr, error) {
	var kept []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); family.Has(a) {
			kept = append(kept, named(a))
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("%s has no %s address", whose, family)
	}
	return kept, nil
}

// named gives an address whose zone is a number the interface's name instead, as
// the senders of datagrams have it.
func named(a netip.Addr) netip.Addr {
	if index, err := strconv.Atoi(a.Zone()); err == nil {
		if ifi, err := net.InterfaceByIndex(index); err == nil {
			return a.WithZone(ifi.Name)
		}
	}
	return a
}

// CheckHost says what is wrong with a word that is to name a host: it must be
// an IP address or have the form of a name.
func CheckHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if strings.ContainsFunc(a.Zone(), notOfInterface) {
			return fmt.Errorf("%q has behind its %% what cannot be an interface's name", host)
		}
		return nil
	}
	switch {
	case strings.Contains(host, ":"):
		return fmt.Errorf("%q is not an IPv6 address", host)
	case strings.Trim(host, "0123456789.") == "":
		return fmt.Errorf("%q is not an IPv4 address", host)
	case len(host) > 253 || strings.HasPrefix(host, "-") || strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "":
		return fmt.Errorf("%q is neither an address nor a name", host)
	}
	return nil
}

// notOfInterface says of a character that no interface's name has it (dev_valid_name
// in Linux's net/core/dev.c), or that it would break out of a line.
func notOfInterface(r rune) bool {
	return r == ' ' || r == '/' || r == ':' || r == '%' || r == utf8.RuneError || !unicode.IsPrint(r)
}
