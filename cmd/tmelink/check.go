package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"tmelink/internal/lab"
	"tmelink/internal/machine"
	"tmelink/internal/tmesh"
)

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE…",
		Short: "Tell everything that is wrong with descriptions, or what they build",
		Long: "Prints every fault as file:line:column: message, with the line and a caret, and exits\n" +
			"with 2. Without a fault it prints the elements, their connections and the options\n" +
			"without effect. Descriptions named together are checked as `run` would run them. It\n" +
			"opens no device and no socket, and asks no name server.",
		Example:           "  tmelink check examples/two-machines/a.tme",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			l, err := load(files, quiet)
			if err != nil {
				return err
			}
			for _, m := range l.Machines {
				describe(cmd.OutOrStdout(), m)
			}
			return nil
		},
	}
}

// describe writes what a machine consists of.
func describe(w io.Writer, m *machine.Machine) {
	fmt.Fprintf(w, "machine %s: %s, %s, %s\n", m.Name,
		count(len(m.Parts), "element"), count(len(m.Connections), "connection"), count(len(m.Commands), "command"))
	width := 0
	for _, p := range m.Parts {
		width = max(width, len(p.Name))
	}
	connected := map[*machine.Part]bool{}
	for _, p := range m.Parts {
		fmt.Fprintf(w, "  %-*s  %s%s\n", width, p.Name, p.Type.Path, joined(p.Args))
	}
	for _, c := range m.Connections {
		fmt.Fprintf(w, "  %s -- %s\n", c.A.Part.Name, c.B.Part.Name)
		connected[c.A.Part], connected[c.B.Part] = true, true
	}
	for _, c := range m.Commands {
		fmt.Fprintf(w, "  command %s\n", c.Text)
	}
	notes(w, "  ", m)
	for _, p := range m.Parts {
		if !connected[p] && !p.Type.Alone {
			fmt.Fprintf(w, "  %s is connected to nothing: no frame reaches it\n", p.Name)
		}
	}
}

// joined are words as they stand in a description; not those of several lines, which
// are keys and certificates.
func joined(words []tmesh.Word) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteByte(' ')
		if strings.Contains(w.Text, "\n") {
			b.WriteString("(inline)")
		} else {
			b.WriteString(tmesh.Quote(w.Text))
		}
	}
	return b.String()
}

// tellNotes writes what a person should know of descriptions that have no fault.
func tellNotes(w io.Writer, l *lab.Lab) {
	for _, m := range l.Machines {
		notes(w, m.Name+": ", m)
	}
}

func notes(w io.Writer, prefix string, m *machine.Machine) {
	for _, word := range m.NoEffect {
		fmt.Fprintf(w, "%swithout effect: %s (%s)\n", prefix, word.Text, word.Pos)
	}
	for _, t := range m.LeftOut.Unlisted {
		fmt.Fprintf(w, "%sleft out: %s (%s), which TME's own descriptions do not name%s\n", prefix, t.Text, t.Pos, machine.NearestType(t.Text))
	}
	if out := m.LeftOut; len(out.Elements) > 0 {
		fmt.Fprintf(w, "%sleft out, for they carry no Ethernet: %s (%s) and %s that only concern them\n", prefix,
			count(len(out.Elements), "element"), abbreviated(out.Elements), count(out.Statements, "statement"))
	}
}

// abbreviated lists the first of many names.
func abbreviated(words []tmesh.Word) string {
	const most = 6
	var names []string
	for _, w := range words[:min(most, len(words))] {
		names = append(names, w.Text)
	}
	if len(words) > most {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}
