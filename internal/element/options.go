package element

import (
	"errors"
	"strings"

	"tmelink/internal/tmesh"
)

// Option is one option of an argument list: its documentation and, in Set, what
// it does. One table serves both, so that neither can lag behind.
type Option struct {
	Name string // "inet" or "--remote"
	// Values is the shape of the words behind it: "" for none, "ADDR",
	// "HOST [PORT] [PROTO]". A word in brackets may be missing; one that ends
	// in … takes any number.
	Values string
	Doc    string // one or more sentences
	Repeat bool   // it may be given more than once
	// Set takes the values. Its error, where it is not a *tmesh.Fault, is put
	// at the first value. nil: the option is accepted and has no effect.
	Set func(Values) error
	// Refused, where not empty, is the error of giving the option: why it
	// cannot be, and what to use instead.
	Refused string
}

// Parse matches the words against the options, calls Set for each one given, in
// the order of the text, and returns all faults joined.
func (a Args) Parse(options []Option) error {
	var faults []error
	known := map[string]*Option{}
	for i := range options {
		known[options[i].Name] = &options[i]
	}
	given := map[string]tmesh.Word{}
	words := a.Words
	for len(words) > 0 {
		name := words[0]
		opt := known[name.Text]
		if opt == nil {
			faults = append(faults, unknownOption(name, known))
			words = skipUnknown(words[1:], known)
			continue
		}
		values, rest, err := opt.take(name, words[1:], known)
		words = rest
		earlier, twice := given[opt.Name]
		switch {
		case opt.Refused != "":
			err = tmesh.Faultf(name.Pos, "%s: %s", name.Text, opt.Refused)
		case err != nil:
		case twice && !opt.Repeat:
			err = tmesh.Faultf(name.Pos, "%s is given twice, first at line %d", name.Text, earlier.Pos.Line)
		case opt.Set == nil:
			if a.NoEffect != nil {
				*a.NoEffect = append(*a.NoEffect, name)
			}
		default:
			err = opt.set(values)
		}
		given[opt.Name] = name
		if err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// take splits off the option's values: the words that must be there always, the
// optional ones as long as they are not an option themselves.
func (o *Option) take(name tmesh.Word, words []tmesh.Word, known map[string]*Option) (Values, []tmesh.Word, error) {
	v := Values{Name: name, shape: strings.Fields(o.Values)}
	must, most := 0, len(v.shape)
	for _, s := range v.shape {
		if strings.HasSuffix(strings.TrimSuffix(s, "]"), "…") {
			most = len(words)
		}
		if !strings.HasPrefix(s, "[") {
			must++
		}
	}
	n := 0
	for n < len(words) && n < most && !(n >= must && isOption(words[n], known)) {
		if strings.HasPrefix(words[n].Text, "--") && !words[n].Quoted {
			break
		}
		n++
	}
	v.Words = words[:n]
	if n < must {
		return v, words[n:], tmesh.Faultf(name.Pos, "%s wants %s", name.Text, o.Values)
	}
	return v, words[n:], nil
}

func (o *Option) set(v Values) error {
	err := o.Set(v)
	var fault *tmesh.Fault
	if err == nil || errors.As(err, &fault) {
		return err
	}
	return tmesh.Faultf(v.pos(0), "%s: %v", v.Name.Text, err)
}

func isOption(w tmesh.Word, known map[string]*Option) bool {
	return !w.Quoted && (known[w.Text] != nil || strings.HasPrefix(w.Text, "--"))
}

func unknownOption(name tmesh.Word, known map[string]*Option) error {
	var names []string
	for n := range known {
		names = append(names, n)
	}
	return tmesh.Faultf(name.Pos, "unknown option %q%s", name.Text, DidYouMean(name.Text, names))
}

// skipUnknown leaves out what may be an unknown option's values.
func skipUnknown(words []tmesh.Word, known map[string]*Option) []tmesh.Word {
	for len(words) > 0 && !isOption(words[0], known) {
		words = words[1:]
	}
	return words
}
