package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"tmelink/internal/element"
)

func newElements() *cobra.Command {
	var markdown bool
	cmd := &cobra.Command{
		Use:   "elements [TYPE]",
		Short: "List the element types, or document one",
		Long: "Lists the element types that a description can name, or documents one: its arguments,\n" +
			"those of its connections, and its commands. TYPE is a path (tme/… and nme/… are the same\n" +
			"tree) or the end of one.",
		Example: "  tmelink elements\n  tmelink elements tme/host/tun/tap\n  tmelink elements switch",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return element.Paths(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch {
			case markdown:
				writeMarkdown(out)
			case len(args) == 0:
				listTypes(out)
			default:
				t, err := findType(args[0])
				if err != nil {
					return err
				}
				writeType(out, t)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "write the documentation of every type as Markdown")
	return cmd
}

// findType finds a type by its path or by the end of one that only it has.
func findType(name string) (*element.Type, error) {
	if t, ok := element.Lookup(name); ok {
		return t, nil
	}
	var found *element.Type
	for _, path := range element.Paths() {
		if !strings.HasSuffix(path, "/"+name) {
			continue
		}
		t, _ := element.Lookup(path)
		if found != nil && found != t {
			return nil, fmt.Errorf("%q is the end of %s and of %s: name one of them", name, found.Path, t.Path)
		}
		found = t
	}
	if found == nil {
		return nil, fmt.Errorf("there is no element type %q%s; tmelink elements lists them", name, element.DidYouMean(name, element.Paths()))
	}
	return found, nil
}

func listTypes(w io.Writer) {
	width := 0
	for _, t := range element.Types() {
		width = max(width, len(t.Path))
	}
	for _, t := range element.Types() {
		fmt.Fprintf(w, "%-*s  %s\n", width, t.Path, t.Summary)
	}
}

func writeType(w io.Writer, t *element.Type) {
	fmt.Fprintf(w, "%s: %s\n", t.Path, t.Summary)
	if len(t.Aliases) > 0 {
		fmt.Fprintf(w, "also: %s\n", strings.Join(t.Aliases, ", "))
	}
	fmt.Fprintf(w, "connections: %s\n", connections(t))
	if t.Doc != "" {
		fmt.Fprintf(w, "\n%s\n", wrap(t.Doc, "", 88))
	}
	for _, table := range tables(t) {
		fmt.Fprintf(w, "\n%s:\n", table.title)
		for _, o := range table.options {
			fmt.Fprintf(w, "  %s\n%s\n", usage(o), wrap(explain(o), "      ", 88))
		}
		if len(table.refused) > 0 {
			fmt.Fprintf(w, "  refused, because not carried out:\n%s\n", wrap(strings.Join(table.refused, " "), "      ", 88))
		}
	}
	if t.Example != "" {
		fmt.Fprintf(w, "\nexample:\n%s\n", indent(t.Example, "  "))
	}
}

func connections(t *element.Type) string {
	if t.MaxConnections == 0 {
		return "any number"
	}
	return fmt.Sprint(t.MaxConnections)
}

// table is one of a type's lists of options, for showing.
type table struct {
	title   string
	options []element.Option
	refused []string // names
}

func tables(t *element.Type) []table {
	var all []table
	for _, x := range []struct {
		title   string
		options []element.Option
	}{
		{"arguments", t.Options},
		{"arguments of a connection", t.ConnectionOptions},
		{"commands", t.Commands},
	} {
		if len(x.options) == 0 {
			continue
		}
		shown := table{title: x.title}
		for _, o := range x.options {
			if o.Refused != "" {
				shown.refused = append(shown.refused, o.Name)
			} else {
				shown.options = append(shown.options, o)
			}
		}
		all = append(all, shown)
	}
	return all
}

func usage(o element.Option) string { return strings.TrimSpace(o.Name + " " + o.Values) }

func explain(o element.Option) string {
	text := o.Doc
	if o.Repeat {
		text += " May be given several times."
	}
	return strings.TrimSpace(text)
}

// writeMarkdown writes docs/elements.md.
func writeMarkdown(w io.Writer) {
	fmt.Fprint(w, "# Element types\n\n"+
		"Written by `tmelink elements --markdown` from the registry: change the types, not this file.\n"+
		"A path that begins with `nme/` means the same as with `tme/`.\n\n"+
		"| type | what it is |\n|---|---|\n")
	for _, t := range element.Types() {
		fmt.Fprintf(w, "| [`%s`](#%s) | %s |\n", t.Path, strings.NewReplacer("/", "").Replace(t.Path), t.Summary)
	}
	for _, t := range element.Types() {
		fmt.Fprintf(w, "\n## `%s`\n\n%s.\n", t.Path, t.Summary)
		for _, alias := range t.Aliases {
			fmt.Fprintf(w, "Also `%s`.\n", alias)
		}
		fmt.Fprintf(w, "Connections: %s.\n", connections(t))
		if t.Doc != "" {
			fmt.Fprintf(w, "\n%s\n", t.Doc)
		}
		for _, table := range tables(t) {
			fmt.Fprintf(w, "\n| %s | |\n|---|---|\n", table.title)
			for _, o := range table.options {
				fmt.Fprintf(w, "| `%s` | %s |\n", cell(usage(o)), cell(explain(o)))
			}
			if len(table.refused) > 0 {
				fmt.Fprintf(w, "\nRefused, because not carried out: `%s`.\n", strings.Join(table.refused, "`, `"))
			}
		}
		if t.Example != "" {
			fmt.Fprintf(w, "\n```\n%s\n```\n", t.Example)
		}
	}
}

// cell is a text for a table, whose columns a bar would end.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// wrap breaks each paragraph of a text into lines of at most width characters,
// but leaves indented ones as they are.
func wrap(text, indent string, width int) string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		if strings.HasPrefix(paragraph, "    ") { // as it is typed
			lines = append(lines, paragraph)
			continue
		}
		line := indent
		for word := range strings.FieldsSeq(paragraph) {
			if len(line) > len(indent) && len(line)+1+len(word) > width {
				lines = append(lines, line)
				line = indent
			}
			if len(line) > len(indent) {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) }
