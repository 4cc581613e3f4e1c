package generic

import (
	"fmt"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// config is what the arguments say.
type config struct {
	ageing time.Duration
	table  int // addresses
	queue  int // frames
	storm  int // frames a second, of a port whose words name none; 0: no bound

	blockLoops bool
}

// defaults: the ageing time of IEEE 802.1Q-2022, table 8-3, and a queue as long
// as that of a host's interface.
var defaults = config{ageing: 300 * time.Second, table: 4096, queue: 1000}

func options(c *config) []element.Option {
	return []element.Option{
		{Name: "ageing", Values: "SECONDS", Doc: "How long a station is remembered that sends nothing, 1 to 1000000; the default is 300, as in IEEE 802.1Q.",
			Set: func(v element.Values) error {
				n, err := v.Int(0, 1, 1000000)
				c.ageing = time.Duration(n) * time.Second
				return err
			}},
		{Name: "table", Values: "N", Doc: "How many stations are remembered at most, 1 to 1048576; the default is 4096. Frames for those beyond go to all ports.",
			Set: func(v element.Values) (err error) { c.table, err = v.Int(0, 1, 1<<20); return }},
		{Name: "queue", Values: "N", Doc: "How many frames wait at a port at most, 1 to 65536, and 2048 bytes for each; the default is 1000.",
			Set: func(v element.Values) (err error) { c.queue, err = v.Int(0, 1, 65536); return }},
		stormWord(&c.storm, "How many broadcasts and multicasts come in by each port in a second at most, 1 to 1000000; the default is off, no bound. Those beyond are dropped, counted as storm, and told of once a minute. A super-frame counts as one."),
		loopWord(&c.blockLoops),
	}
}

// portConfig is what the words of a connection say of its port.
type portConfig struct {
	access uint16   // the VLAN of an access port; 0: not said
	trunk  *vlanSet // nil: no trunk
	native uint16   // 0: none

	isolated bool
	storm    int // frames a second; 0: no bound

	nativeAt, trunkAt element.Values // for faults that need two words
}

func (c *portConfig) options() []element.Option {
	return []element.Option{
		{Name: "vlan", Values: "N", Doc: "The port is in this VLAN, 1 to 4094: its frames come and go without a tag. Those that come with the tag of another VLAN are dropped, and counted as other-vlan.",
			Set: func(v element.Values) (err error) {
				c.access, err = vlan(v)
				return
			}},
		{Name: "trunk", Values: "[VLANS]", Doc: "The port carries these VLANs with tags of 802.1Q, as in 10,20,30-40; without VLANS all of them. Frames of others, and without native those that have no tag, are dropped, and counted as other-vlan.",
			Set: func(v element.Values) (err error) {
				c.trunkAt, c.trunk = v, allVLANs()
				if v.Has(0) {
					c.trunk, err = parseVLANs(v)
				}
				return
			}},
		{Name: "native", Values: "N", Doc: "The VLAN that a trunk carries without a tag, beside the others.",
			Set: func(v element.Values) (err error) {
				c.nativeAt = v
				c.native, err = vlan(v)
				return
			}},
		{Name: "isolated", Doc: "The port reaches only ports that are not isolated, and is reached only by them. What is for a station behind another isolated port is dropped, and counted as isolated.",
			Set: func(element.Values) error { c.isolated = true; return nil }},
		stormWord(&c.storm, "How many broadcasts and multicasts come in by this port in a second at most, or off, in place of the same word behind the type."),
	}
}

func vlan(v element.Values) (uint16, error) {
	n, err := v.Int(0, 1, ethernet.MaxVLAN)
	return uint16(n), err
}

// check looks at what only two words together make wrong.
func (c *portConfig) check() error {
	switch {
	case c.trunk != nil && c.access != 0:
		return c.trunkAt.Faultf(0, "a port with vlan is no trunk: leave one of them out, or give the trunk native %d", c.access)
	case c.native != 0 && c.trunk == nil:
		return c.nativeAt.Faultf(0, "only a trunk has a native VLAN: give trunk as well, or vlan in place of native")
	}
	return nil
}

// namesVLAN says whether the words make a switch one with VLANs.
func (c *portConfig) namesVLAN() bool { return c.access != 0 || c.trunk != nil }

// vlans are those that the port carries in a switch with VLANs.
func (c *portConfig) vlans() vlans {
	switch {
	case c.trunk != nil:
		return vlans{untagged: c.native, tagged: c.trunk}
	case c.access != 0:
		return vlans{untagged: c.access}
	}
	return vlans{untagged: defaultVLAN}
}

// describe writes the words that matter to a drawing, in a switch with VLANs or one
// without: "trunk 10,20 native 5".
func (c *portConfig) describe(aware bool) string {
	var words []string
	switch v := c.vlans(); {
	case !aware:
	case v.tagged != nil:
		words = append(words, strings.TrimSpace("trunk "+v.tagged.String()))
		if v.untagged != 0 {
			words = append(words, fmt.Sprintf("native %d", v.untagged))
		}
	default:
		words = append(words, fmt.Sprintf("vlan %d", v.untagged))
	}
	if c.isolated {
		words = append(words, "isolated")
	}
	return strings.Join(words, " ")
}
