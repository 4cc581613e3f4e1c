package nic

import (
	"context"
	"fmt"
	"io"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
)

// verb is a command that the built-in host carries out.
type verb struct {
	name   string
	values string // for the documentation
	doc    string
	// prepare reads the words, of which the first is the name.
	prepare func(*Interface, element.Args) (element.Command, error)
}

var verbs = []verb{
	{"ping", pingValues, pingDoc, (*Interface).preparePing},
	{"get", getValues, getDoc, (*Interface).prepareGet},
	{"arp", "", "Print the neighbour table, as arp -a does, IPv6 neighbours included.", (*Interface).prepareARP},
}

func commandOptions() []element.Option {
	var options []element.Option
	for _, v := range verbs {
		options = append(options, element.Option{Name: v.name, Values: v.values, Doc: v.doc})
	}
	return options
}

// Prepare checks a command's words.
func (i *Interface) Prepare(args element.Args) (element.Command, error) {
	var names []string
	for _, v := range verbs {
		names = append(names, v.name)
	}
	if len(args.Words) == 0 {
		return nil, tmesh.Faultf(args.Pos, "command %s wants one of %v", i.env.Name, names)
	}
	name := args.Words[0]
	if !i.plugged() {
		return nil, tmesh.Faultf(name.Pos, "%s has no built-in host to carry out a command: give it inet ADDR", i.env.Name)
	}
	for _, v := range verbs {
		if v.name == name.Text {
			return v.prepare(i, args)
		}
	}
	return nil, tmesh.Faultf(name.Pos, "unknown command %q%s", name.Text, element.DidYouMean(name.Text, names))
}

func (i *Interface) prepareARP(args element.Args) (element.Command, error) {
	err := args.Parse([]element.Option{{Name: "arp", Set: func(element.Values) error { return nil }}})
	return i.arp, err
}

func (i *Interface) arp(_ context.Context, out io.Writer) error {
	table, err := i.host.Neighbours()
	if err != nil {
		return err
	}
	for _, n := range table {
		at := "<incomplete>"
		if n.Resolved {
			at = n.HardwareAddr.String() + " [ether]"
		}
		if _, err := fmt.Fprintf(out, "? (%s) at %s on %s\n", n.Addr, at, i.env.Name); err != nil {
			return err
		}
	}
	return nil
}
