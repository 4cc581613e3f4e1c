package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tmelink/internal/lab"
	"tmelink/internal/openvpn/keys"
	"tmelink/internal/transport"
)

func newPair() *cobra.Command {
	p := pair{random: rand.Reader}
	cmd := &cobra.Command{
		Use:   "pair HOST-A HOST-B",
		Short: "Write both ends of a private link, keys included",
		Long: "Makes certificates and keys for a private link between two hosts, and writes a ready\n" +
			"description for each, HOST-A.tme and HOST-B.tme: copy one to the other host, and run both.\n" +
			"The ends know each other by the fingerprints of their certificates, without a CA; a key\n" +
			"that both have (--tls-crypt) keeps strangers from even beginning to talk.\n\n" +
			"HOST-A and HOST-B are the addresses or names by which the hosts reach each other. An end\n" +
			"with an address binds it; one with a name binds every address of its host. Over TCP HOST-A\n" +
			"is the one that HOST-B connects to.\n\n" +
			"The files hold secret keys. They are made for their owner alone, and never overwritten\n" +
			"without --force.",
		Example: "  tmelink pair 192.0.2.1 192.0.2.2\n  tmelink pair alpha.example beta.example --proto tcp --port 443 --tap\n" +
			"  tmelink pair alpha.example beta.example --openvpn beta.example",
		Args:              twoHosts,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, hosts []string) error {
			p.hosts, p.now = [2]string(hosts), time.Now()
			return p.run(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&p.proto, "proto", "udp", "udp or tcp")
	cmd.Flags().IntVar(&p.port, "port", 1194, "the port that the ends use")
	cmd.Flags().BoolVar(&p.tap, "tap", false, "join the hosts themselves, each by a TAP (as root), and not hosts built into tmelink")
	cmd.Flags().StringVar(&p.openvpn, "openvpn", "", "the `HOST` of the two whose end is OpenVPN's (2.6 or later): it gets a profile, HOST.ovpn")
	cmd.Flags().StringVar(&p.out, "out", ".", "the directory to write to; made if it is not there")
	cmd.Flags().IntVar(&p.days, "days", 3650, "how long the certificates are valid")
	addForce(cmd, &p.force)
	cmd.RegisterFlagCompletionFunc("proto", cobra.FixedCompletions([]string{"udp", "tcp"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagDirname("out")
	return cmd
}

// pair is what the command line asks for.
type pair struct {
	hosts      [2]string
	proto      string
	port, days int
	openvpn    string // one of the hosts, "" for none
	out        string
	tap, force bool
	random     io.Reader
	now        time.Time
}

func (p *pair) run(out io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	ends, err := p.ends()
	if err != nil {
		return err
	}
	var files []keyFile
	for _, e := range ends {
		if err := e.check(); err != nil {
			return err
		}
		files = append(files, keyFile{e.path(), e.text()})
	}
	if err := os.MkdirAll(p.out, 0o700); err != nil {
		return failedError{err}
	}
	if err := writeKeys(p.force, files...); err != nil {
		return failedError{err}
	}
	p.explain(out, ends)
	return nil
}

// check finds what is wrong with the command line.
func (p *pair) check() error {
	for _, host := range p.hosts {
		if err := transport.CheckHost(host); err != nil {
			return err
		}
		if a, err := netip.ParseAddr(host); err == nil && (a.IsUnspecified() || a.IsMulticast()) {
			return fmt.Errorf("%s is not the address of a host: name one by which the other reaches it", host)
		}
	}
	switch {
	case strings.EqualFold(fileName(p.hosts[0]), fileName(p.hosts[1])):
		return fmt.Errorf("both ends are %s: a pair joins two hosts, by two addresses or names", p.hosts[0])
	case p.proto != "udp" && p.proto != "tcp":
		return fmt.Errorf("--proto %q is neither udp nor tcp", p.proto)
	case p.port < 1 || p.port > 65535:
		return fmt.Errorf("--port %d is not a port: choose 1 to 65535", p.port)
	case p.openvpn != "" && !slices.Contains(p.hosts[:], p.openvpn):
		return fmt.Errorf("--openvpn %q is neither %s nor %s: it says whose end is OpenVPN's", p.openvpn, p.hosts[0], p.hosts[1])
	}
	return nil
}

// ends makes the keys and gives both ends.
func (p *pair) ends() (ends [2]*pairEnd, err error) {
	wrapping, err := keys.NewStatic(p.random)
	if err != nil {
		return ends, failedError{err}
	}
	defer wrapping.Wipe()
	for i, host := range p.hosts {
		e := &pairEnd{
			pair: p, host: host, peer: p.hosts[1-i], server: i == 0,
			isOpenVPN: host == p.openvpn, tlsCrypt: wrapping.Marshal(),
		}
		name := host[:min(len(host), maxCommonName)]
		if e.certificate, e.key, err = keys.NewCertificate(p.random, name, p.now, p.days); err != nil {
			return ends, err
		}
		ends[i] = e
	}
	for i, e := range ends {
		if e.peerFingerprint, err = keys.CertificateFingerprint(ends[1-i].certificate); err != nil {
			return ends, failedError{err}
		}
	}
	return ends, nil
}

// maxCommonName is ub-common-name of RFC 5280. Names of hosts can be longer; what the
// ends go by is the fingerprint.
const maxCommonName = 64

// check has the program itself look at the end as a description.
func (e *pairEnd) check() error {
	read := func(string) ([]byte, error) { return e.description(), nil }
	_, _, faults := lab.Load([]string{e.host}, read, quiet.logger, quiet.level)
	var told []error
	for _, f := range faults {
		told = append(told, errors.New(f.Msg)) // its place is in no file that there is
	}
	if len(told) > 0 {
		return fmt.Errorf("no link from %s to %s: %w", e.host, e.peer, errors.Join(told...))
	}
	return nil
}

// fileName is a host's name as that of a file, without an ending: the colons of IPv6
// mean something else to file systems and to scp, and dashes in front to every program.
func fileName(host string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, host)
	return strings.TrimLeft(name, "-")
}

// twoHosts says what is missing.
func twoHosts(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("pair wants two hosts, as they reach each other: tmelink pair 192.0.2.1 192.0.2.2")
	}
	return nil
}
