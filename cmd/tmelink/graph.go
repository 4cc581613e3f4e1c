package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tmelink/internal/element"
	"tmelink/internal/graph"
	"tmelink/internal/lab"
)

var drawings = map[string]func(io.Writer, graph.Network) error{
	"text": graph.Text, "dot": graph.DOT, "svg": graph.SVG,
}

func newGraph() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "graph FILE…",
		Short: "Draw the network that descriptions describe",
		Long: "Draws the machines, their elements and connections, and as wires between machines the\n" +
			"links that are each other's peers and the host's interfaces that several elements are on.\n" +
			"It opens nothing.",
		Example:           "  tmelink graph examples/two-machines/*.tme\n  tmelink graph --format svg examples/two-machines/*.tme > network.svg",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			draw := drawings[format]
			if draw == nil {
				return fmt.Errorf("--format %q is not text, dot or svg", format)
			}
			l, err := load(files, quiet)
			if err != nil {
				return err
			}
			if err := draw(cmd.OutOrStdout(), picture(l)); err != nil {
				return failedError{err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, dot (for Graphviz) or svg")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// picture makes of a lab what package graph draws.
func picture(l *lab.Lab) graph.Network {
	var net graph.Network
	var outlets []outlet
	for _, m := range l.Machines {
		drawn := graph.Machine{Name: m.Name}
		for _, p := range m.Parts {
			e := graph.Element{Name: p.Name, Type: p.Type.Path}
			if s, ok := p.Element.(element.Sketcher); ok {
				sketch := s.Sketch()
				e.Kind, e.Detail = kinds[sketch.Kind], sketch.Detail
				outlets = append(outlets, outlet{graph.End{Machine: m.Name, Element: p.Name}, sketch})
			}
			drawn.Elements = append(drawn.Elements, e)
		}
		for _, c := range m.Connections {
			drawn.Connections = append(drawn.Connections, graph.Connection{A: c.A.Part.Name, B: c.B.Part.Name})
		}
		net.Machines = append(net.Machines, drawn)
	}
	nameTAPs(outlets)
	net.Wires = wires(outlets)
	return net
}

var kinds = map[element.Kind]graph.Kind{
	element.HostKind: graph.Host, element.LinkKind: graph.Link, element.TAPKind: graph.TAP,
	element.PacketSocket: graph.PacketSocket, element.SwitchKind: graph.Switch,
}

// outlet is an element that may have a wire.
type outlet struct {
	end graph.End
	element.Sketch
}

// nameTAPs gives the TAPs that have no name in the description the one that they
// get on a host which has none yet: the first free tapN, in the order of the text.
func nameTAPs(outlets []outlet) {
	taken := map[string]bool{}
	for _, o := range outlets {
		taken[o.Interface] = o.Kind == element.TAPKind && o.Interface != ""
	}
	n := 0
	for i := range outlets {
		if o := &outlets[i]; o.Kind == element.TAPKind && o.Interface == "" && !o.Apart {
			for ; taken[fmt.Sprintf("tap%d", n)]; n++ {
			}
			o.Interface = fmt.Sprintf("tap%d", n)
			n++
		}
	}
}

// wires finds the links that are each other's peers, those whose peer is in
// none of the machines, and the interfaces that elements share.
func wires(outlets []outlet) []graph.Wire {
	var found []graph.Wire
	shared := map[string][]graph.End{}
	var names []string
	for i, a := range outlets {
		if a.Interface != "" {
			if shared[a.Interface] == nil {
				names = append(names, a.Interface)
			}
			shared[a.Interface] = append(shared[a.Interface], a.end)
		}
		if a.Kind != element.LinkKind {
			continue
		}
		j := slices.IndexFunc(outlets, func(b outlet) bool { return peers(a.Sketch, b.Sketch) && a.end != b.end })
		switch {
		case j > i:
			proto, _, _ := strings.Cut(a.Local+a.Remote, " ")
			found = append(found, graph.Wire{Label: proto, Ends: []graph.End{a.end, outlets[j].end}})
		case j < 0 && a.Remote != "":
			found = append(found, graph.Wire{Label: a.Remote, Ends: []graph.End{a.end}})
		}
	}
	for _, name := range names {
		found = append(found, graph.Wire{Label: name, Ends: shared[name]})
	}
	return found
}

// peers says whether two links are each other's peers: one of them may float.
func peers(a, b element.Sketch) bool {
	if a.Kind != element.LinkKind || b.Kind != element.LinkKind {
		return false
	}
	fits := func(remote, local string) bool { return remote == "" || remote == local }
	return fits(a.Remote, b.Local) && fits(b.Remote, a.Local) && (a.Remote != "" || b.Remote != "")
}
