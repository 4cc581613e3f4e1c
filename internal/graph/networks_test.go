package graph

import "fmt"

func le(name, addr string) Element {
	return Element{Name: name, Type: "tme/ic/am7990", Kind: Host, Detail: []string{"inet " + addr}}
}

func link(name string, detail ...string) Element {
	return Element{Name: name, Type: "tme/host/openvpn/socket/link", Kind: Link, Detail: detail}
}

func bpf(name, ifc string) Element {
	return Element{Name: name, Type: "tme/host/bsd/bpf", Kind: PacketSocket, Detail: []string{"interface " + ifc}}
}

// networks are what the drawings are tested with.
var networks = map[string]Network{
	"empty": {},
	"two-machines": {
		Machines: []Machine{
			{"a", []Element{le("le0", "10.0.0.1/24"), link("link0", "udp 127.0.0.1:1194", "→ 127.0.0.1:1195")}, []Connection{{"le0", "link0"}}},
			{"b", []Element{le("le0", "10.0.0.2/24"), link("link0", "udp 127.0.0.1:1195", "→ 127.0.0.1:1194")}, []Connection{{"le0", "link0"}}},
		},
		Wires: []Wire{{"udp", []End{{"a", "link0"}, {"b", "link0"}}}},
	},
	// The network of the founders' sample: four machines, a TAP that three of
	// their elements share, a TCP and a UDP link.
	"shared-tap": {
		Machines: []Machine{
			{"a", []Element{
				{"tap1", "tme/host/tun/tap", TAP, []string{"inet 10.0.77.1/24", "interface tap0"}},
				link("link2", "tcp-server 10.1.0.1:1194"), bpf("bpf1", "tap0"),
				le("le0", "10.0.77.2/24"),
			}, []Connection{{"link2", "tap1"}, {"bpf1", "le0"}}},
			{"b", []Element{
				link("link3", "udp 10.1.0.1:1195", "→ 10.1.0.3:1194"), bpf("bpf1", "tap0"), bpf("bpf2", "tap0"),
				le("le0", "10.0.77.3/24"),
			}, []Connection{{"bpf1", "le0"}, {"bpf2", "link3"}}},
			{"c", []Element{link("link4", "tcp-client 10.1.0.2:1194"), le("le0", "10.0.77.4/24")}, []Connection{{"link4", "le0"}}},
			{"d", []Element{link("link5", "udp 10.1.0.3:1194", "→ 10.1.0.1:1195"), le("le0", "10.0.77.5/24")}, []Connection{{"link5", "le0"}}},
		},
		Wires: []Wire{
			{"tap0", []End{{"a", "tap1"}, {"a", "bpf1"}, {"b", "bpf1"}, {"b", "bpf2"}}},
			{"tcp", []End{{"a", "link2"}, {"c", "link4"}}},
			{"udp", []End{{"b", "link3"}, {"d", "link5"}}},
		},
	},
	"switch": star(10),
	"circles": {
		Machines: []Machine{{"m", []Element{
			{"sw0", "tme/generic/switch", Switch, nil}, {"sw1", "tme/generic/switch", Switch, nil}, {"sw2", "tme/generic/switch", Switch, nil},
			{"tap1", "tme/host/tun/tap", TAP, []string{"interface tap7"}}, le("le0", "10.0.0.1/24"), link("link0", "udp [fd00::1]:1194"),
			{"le1", "tme/ic/am7990", Host, []string{"nothing is plugged in"}},
		}, []Connection{{"sw0", "sw1"}, {"sw1", "sw2"}, {"sw2", "sw0"}, {"sw0", "sw1"}, {"tap1", "tap1"}, {"le0", "sw0"}, {"link0", "sw2"}}}},
		Wires: []Wire{{"10.9.8.7:1194", []End{{"m", "link0"}}}},
	},
	"long": chain(14, "a-name-as-long-as-nobody-should-choose-one"),
	"hostile": {
		Machines: []Machine{
			{"<m>&\"'\x00", []Element{
				{"</text>\x1b[2J", "a\\b\\", Other, []string{"]]>", "\xff\xfe\u202e\ufffe", "{a\tb\nc}", "\"];x--y", "漢字", "e\u0301\u0301\u0301"}},
				{"", "", 77, make([]string, 20)},
			}, []Connection{{"</text>\x1b[2J", ""}}},
			{"", nil, nil},
		},
		Wires: []Wire{{"&lt;\\", []End{{"<m>&\"'\x00", ""}, {"<m>&\"'\x00", "</text>\x1b[2J"}}}},
	},
}

// star is a switch with n links, each to a machine of its own.
func star(n int) Network {
	hub := Machine{Name: "hub", Elements: []Element{{"sw0", "tme/generic/switch", Switch, nil}, le("le0", "10.0.0.1/24")}}
	hub.Connections = []Connection{{"le0", "sw0"}}
	net := Network{Machines: []Machine{{}}}
	for i := 1; i <= n; i++ {
		near, far := fmt.Sprintf("link%d", i), fmt.Sprintf("leaf%d", i)
		hub.Elements = append(hub.Elements, link(near, fmt.Sprintf("udp 10.1.0.1:%d", 1193+i)))
		hub.Connections = append(hub.Connections, Connection{near, "sw0"})
		net.Machines = append(net.Machines, Machine{far, []Element{link("link0", fmt.Sprintf("→ 10.1.0.1:%d", 1193+i)), le("le0", fmt.Sprintf("10.0.0.%d/24", i+1))},
			[]Connection{{"link0", "le0"}}})
		net.Wires = append(net.Wires, Wire{"", []End{{"hub", near}, {far, "link0"}}})
	}
	net.Machines[0] = hub
	return net
}

// chain is one machine of n elements in a row.
func chain(n int, name string) Network {
	m := Machine{Name: "chain"}
	for i := range n {
		m.Elements = append(m.Elements, Element{Name: fmt.Sprintf("%d-%s", i, name), Type: "tme/generic/switch", Kind: Switch})
		if i > 0 {
			m.Connections = append(m.Connections, Connection{m.Elements[i-1].Name, m.Elements[i].Name})
		}
	}
	return Network{Machines: []Machine{m}}
}
