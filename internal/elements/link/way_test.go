package link

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
)

// parsed reads a link's words as they stand in a description.
func parsed(t *testing.T, dir, text string) (*config, error) {
	t.Helper()
	file, faults := tmesh.Parse("t", []byte("link0 at le0: tme/host/openvpn/socket/link "+text+"\n"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, s := range file.Statements {
		if e, ok := s.(*tmesh.Element); ok {
			return parse(element.Args{Pos: e.At, Words: e.TypeArgs}, dir)
		}
	}
	t.Fatal("no element")
	return nil, nil
}

func TestWays(t *testing.T) {
	dir := keyFolder(t)
	ovpn := filepath.Join(dir, "p.ovpn")
	if err := os.WriteFile(ovpn, []byte("dev tap\nremote-random\n"+
		"<connection>\nremote a 1 udp\nnobind\n</connection>\n"+
		"<connection>\nremote b\nproto tcp-client\nrport 2\nnobind\nhttp-proxy p 3128\nconnect-timeout 7\n</connection>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client.ovpn"), []byte("client\ndev tap\nca crt\nauth-user-pass user\n"+
		"<connection>\nremote a\nproto tcp\n</connection>\n<connection>\nremote tcp 1 tcp4\n</connection>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"--config client.ovpn":                                                                         "tcp a port 1194|tcp tcp port 1",
		"--local 10.0.0.1":                                                                             "udp whoever comes",
		"--local 10.0.0.1 --proto tcp-server":                                                          "tcp whoever comes",
		"--nobind --remote a --remote b 2 --rport 3":                                                   "udp a port 3|udp b port 2",
		"--nobind --remote a 1 udp --remote b 2 tcp-client":                                            "udp a port 1|tcp b port 2",
		"--nobind --proto tcp-client --remote a 1 --remote b 2 udp --socks-proxy s":                    "tcp a port 1 through the socks proxy s:1080|udp b port 2 through the socks proxy s:1080",
		"--nobind --remote a 1 udp --remote b 2 tcp-client --remote c 3 udp4 --proto-force udp":        "udp a port 1|udp c port 3",
		"--nobind --connection \"remote a 1\" --remote b 2 --connection \"remote c 3 tcp-client\"":     "udp a port 1|udp b port 2|tcp c port 3",
		"--nobind --remote a --connection \"remote b 443 tcp-client\n  http-proxy p 3128\n\" --ping 5": "udp a port 1194|tcp b port 443 through the http proxy p:3128",
		"--connection \"remote a\nnobind\" --connection \"remote b\nnobind\"":                          "udp a port 1194|udp b port 1194",
		"--config p.ovpn": "udp a port 1|tcp b port 2 through the http proxy p:3128",
	} {
		c, err := parsed(t, dir, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, w := range c.ways {
			got = append(got, fmt.Sprint(w))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s:\n got %s\nwant %s", text, strings.Join(got, "|"), want)
		}
	}
	c, err := parsed(t, dir, "--config p.ovpn --connect-timeout 9")
	if err != nil || c.ways[0].timeout.Seconds() != 9 || c.ways[1].timeout.Seconds() != 7 || !c.random || !c.nobind {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestFaultsOfConnections(t *testing.T) {
	for text, want := range map[string]string{
		"--nobind --connection \"remote a 1\nremote b 1\"":                            "t:1:66: a <connection> has exactly one remote",
		"--nobind --connection \"remote a 0\"":                                        `t:1:10: --remote: "0" is not a number`,
		"--nobind --connection \"remote a 1\nproto ipx\"":                             `t:2:7: --proto: there is no protocol "ipx"`,
		"--nobind --connection \"remote a 1\nfloat\" --connection \"remote b\"":       "t:2:1: float is not the same in every <connection>",
		"--nobind --connection \"remote a 1\nhttp-proxy p 1\"":                        "t:2:1: --http-proxy: an HTTP proxy carries TCP alone",
		"--nobind --connection \"remote a 1\nhttp-proxy-option AGENT x\"":             "t:2:1: --http-proxy-option: it is of no use without --http-proxy",
		"--nobind --connection \"remote a 1\nno-such-option\"":                        `t:2:1: unknown option "--no-such-option"`,
		"--nobind --connection \"remote a 1\n<connection>\nremote b\n</connection>\"": "t:2:1: a <connection> cannot stand in another one",
	} {
		_, err := parsed(t, "", text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}
