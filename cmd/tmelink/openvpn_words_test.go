package main

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"tmelink/internal/tmesh"
)

// texts writes words without their places.
func texts(words []tmesh.Word) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = w.Text
	}
	return strings.Join(all, " ")
}

// TestOpenVPNWords sorts command lines; p.ovpn, d/q.ovpn and so on are profiles.
func TestOpenVPNWords(t *testing.T) {
	files := map[string]string{
		"p.ovpn":      "dev tap7\nproto udp\nremote a 1\nremote b\nverb 5\n<secret>\nKEY\n</secret>\n",
		"d/q.ovpn":    "dev tap\nconfig r.ovpn\n",
		"d/r.ovpn":    "remote c\n",
		"loop.ovpn":   "config loop.ovpn\n",
		"blocks.ovpn": "dev tap\nport 7\n<connection>\nremote a\nproto udp\nfloat\n</connection>\n<connection>\nremote b 2\nrport 3\nfloat\n</connection>\n",
		"two.ovpn":    "dev tap\n<connection>\nremote a\nlport 1\n</connection>\n<connection>\nremote b 2\n</connection>\n",
		"tcp.ovpn":    "dev tap\n<connection>\nremote a 1 tcp-client\nhttp-proxy p 3\n</connection>\n<connection>\nremote b\n</connection>\n",
		"both.ovpn":   "dev tap\nremote c\n<connection>\nremote a\n</connection>\n",
	}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	for _, test := range []struct{ args, process, tap, link, fault string }{
		{"--dev tap0 --remote 10.0.0.2", "", "--dev tap0", "--dev tap0 --remote 10.0.0.2 --local 0.0.0.0", ""},
		{"--dev tap0 --remote fd00::2", "", "--dev tap0", "--dev tap0 --remote fd00::2 --local ::", ""},
		{"--dev tap --proto udp6", "", "--dev tap", "--dev tap --proto udp6 --local ::", ""},
		{"--dev tap --remote a --proto tcp-client", "", "--dev tap", "--dev tap --remote a --proto tcp-client --nobind", ""},
		{"--dev tap --remote a 1 tcp-client --lport 2", "", "--dev tap", "--dev tap --remote a 1 tcp-client --lport 2 --local 0.0.0.0", ""},
		{"--dev tap --remote a --client", "", "--dev tap", "--dev tap --remote a --client --nobind", ""},
		{"--dev tap --remote a --nobind", "", "--dev tap", "--dev tap --remote a --nobind", ""},
		{"--dev tap --local b", "", "--dev tap", "--dev tap --local b", ""},
		{"--dev tap --local b --ifconfig 10.0.0.1 255.0.0.0 --lladdr 2:0:0:0:0:1 --tun-mtu 1400 --script-security 2 --up x", "",
			"--dev tap --ifconfig 10.0.0.1 255.0.0.0 --lladdr 2:0:0:0:0:1 --tun-mtu 1400 --script-security 2 --up x",
			"--dev tap --local b --ifconfig 10.0.0.1 255.0.0.0 --tun-mtu 1400", ""},
		{"--dev tap --local b --status s 5 --verb 4 --user x --persist-tun --route 1", "--status s 5 --verb 4 --user x", "--dev tap --route 1", "--dev tap --local b --persist-tun", ""},
		{"--dev null --local b --ifconfig 10.0.0.1 255.0.0.0", "", "--dev tap --ifconfig 10.0.0.1 255.0.0.0", "--dev tap --local b --ifconfig 10.0.0.1 255.0.0.0", ""},
		{"--dev null --local b --up x", "", "--dev tap", "--dev tap --local b", "command line:1:22: --up is for a TAP"},
		{"--dev tun --local b", "", "--dev tap", "--dev tap --local b", "command line:1:1: a tun device carries IP packets"},
		{"--local b", "", "--dev tap", "--local b --dev tap", "command line:1:1: --dev is missing"},
		{"--dev tap --local b --no-such 1", "", "--dev tap", "--dev tap --local b --no-such 1", ""},
		{"--dev tap --local b --up x --setenv a b", "", "--dev tap --up x", "--dev tap --local b --setenv a b", "command line:1:28: --setenv is not carried out"},
		{"--dev tap --local b --ping-exit 5 --inactive 60 1000", "", "--dev tap", "--dev tap --local b --ping-exit 5 --inactive 60 1000", ""},
		{"--config p.ovpn --verb 2 --dev tap8", "--verb 2", "--dev tap8", "--proto udp --remote a 1 --remote b --secret KEY\n --dev tap8 --local 0.0.0.0", ""},
		{"p.ovpn", "--verb 5", "--dev tap7", "--dev tap7 --proto udp --remote a 1 --remote b --secret KEY\n --local 0.0.0.0", ""},
		{"--cd d --config q.ovpn", "", "--dev tap", "--dev tap --remote c --local 0.0.0.0", ""},
		{"--config q.ovpn", "", "--dev tap", "--dev tap --local 0.0.0.0", `command line:1:1: cannot read the profile "q.ovpn"`},
		{"--dev tap --config loop.ovpn", "", "--dev tap", "--dev tap --local 0.0.0.0", "loop.ovpn:1:1: profiles name each other more than 5 deep"},
		{"blocks.ovpn", "", "--dev tap", "--dev tap --port 7 --float --connection --remote a --proto udp --connection --remote b 2 --rport 3 --local 0.0.0.0", ""},
		{"two.ovpn", "", "--dev tap", "--dev tap --lport 1 --connection --remote a --connection --remote b 2 --local 0.0.0.0", "two.ovpn:4:1: lport is not the same in every <connection>"},
		{"tcp.ovpn", "", "--dev tap", "--dev tap --connection --remote a 1 tcp-client --http-proxy p 3 --connection --remote b --nobind", ""},
		{"both.ovpn", "", "--dev tap", "--dev tap --remote c --connection --remote a --local 0.0.0.0", "both.ovpn:2:1: remote stands beside <connection> blocks"},
	} {
		w, faults := readOpenVPN(strings.Fields(test.args), read)
		got := fmt.Sprintf("process %q\ntap %q\nlink %q", texts(w.process), texts(w.tap), texts(w.link))
		want := fmt.Sprintf("process %q\ntap %q\nlink %q", test.process, test.tap, test.link)
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", test.args, got, want)
		}
		fault := ""
		if len(faults) > 0 {
			fault = faults.Error()
		}
		if !strings.HasPrefix(fault, test.fault) || (fault == "") != (test.fault == "") {
			t.Errorf("%s: faults %q, want %q", test.args, fault, test.fault)
		}
	}
}
