package machine

import (
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// Config is what Build needs besides the statements.
type Config struct {
	Name string       // the machine's
	Dir  string       // the description's folder
	Log  *slog.Logger // gets every event of the machine
	// Level is the level from which an element without a `log` statement is heard.
	Level slog.Level
}

// Build makes a machine of a description's statements. It opens nothing. The
// machine is usable only where there is no fault.
func Build(cfg Config, statements []tmesh.Statement) (*Machine, tmesh.Faults) {
	b := &builder{
		cfg:     cfg,
		machine: &Machine{Name: cfg.Name, log: cfg.Log.With("machine", cfg.Name)},
		named:   map[string]*named{},
		aliases: map[string]*tmesh.Alias{},
		broken:  map[string]bool{},
	}
	b.declare(statements)
	b.checkAliases()
	for _, s := range statements {
		b.statement(s)
	}
	b.faults.Sort()
	return b.machine, b.faults
}

// named is what an element's name stands for while a machine is built. Without
// part the element is left out, or faulty and already complained of.
type named struct {
	word   tmesh.Word
	part   *Part
	faulty bool
}

type builder struct {
	cfg     Config
	machine *Machine
	named   map[string]*named
	aliases map[string]*tmesh.Alias
	broken  map[string]bool // names whose statement has had its fault: using them is none
	faults  tmesh.Faults
}

func (b *builder) fault(pos tmesh.Pos, format string, args ...any) {
	b.faults = append(b.faults, tmesh.Faultf(pos, format, args...))
}

// declare takes up every name, so that the order of statements is free.
func (b *builder) declare(statements []tmesh.Statement) {
	for _, s := range statements {
		switch s := s.(type) {
		case *tmesh.Element:
			switch {
			case s.Broken:
				b.broken[s.Name.Text] = true
			case s.Type != nil && b.free(s.Name):
				b.named[s.Name.Text] = b.make(s)
			}
		case *tmesh.Alias:
			if b.free(s.New) {
				b.aliases[s.New.Text] = s
			}
		}
	}
}

// free says whether a name can still be given, and complains if not.
func (b *builder) free(name tmesh.Word) bool {
	var first tmesh.Pos
	if n := b.named[name.Text]; n != nil {
		first = n.word.Pos
	} else if a := b.aliases[name.Text]; a != nil {
		first = a.New.Pos
	} else {
		return true
	}
	b.fault(name.Pos, "the name %s is used twice; it was given first at %s", name.Text, first)
	return false
}

// make makes the element of a statement that has a type.
func (b *builder) make(s *tmesh.Element) *named {
	n := &named{word: s.Name}
	path := s.Type.Text
	switch standingOf(path) {
	case leftOut:
		b.machine.LeftOut.Elements = append(b.machine.LeftOut.Elements, s.Name)
	case unlisted:
		b.machine.LeftOut.Elements = append(b.machine.LeftOut.Elements, s.Name)
		b.machine.LeftOut.Unlisted = append(b.machine.LeftOut.Unlisted, *s.Type)
	case missing:
		n.faulty = true
		b.fault(s.Type.Pos, "%s is a network element of TME that tmelink does not have: %s", path, instead[path[4:]])
	case unknown:
		n.faulty = true
		b.fault(s.Type.Pos, "there is no element type %s%s", path, NearestType(path))
	case network:
		t, _ := element.Lookup(path)
		p := &Part{Name: s.Name.Text, Pos: s.Name.Pos, Type: t, Args: s.TypeArgs, level: new(slog.LevelVar)}
		p.level.Set(b.cfg.Level)
		env := element.Env{
			Machine: b.cfg.Name, Name: p.Name, Dir: b.cfg.Dir,
			Log: slog.New(levelled{b.machine.log.Handler(), p.level}).With("element", p.Name),
		}
		e, err := t.New(env, element.Args{Pos: s.Type.Pos, Words: s.TypeArgs, NoEffect: &b.machine.NoEffect})
		if err != nil {
			n.faulty = true
			b.faults.Add(s.Type.Pos, err)
			break
		}
		p.Element, n.part = e, p
		b.machine.Parts = append(b.machine.Parts, p)
	}
	return n
}

// checkAliases complains of aliases that lead in a circle or nowhere.
func (b *builder) checkAliases() {
	for _, name := range slices.Sorted(maps.Keys(b.aliases)) { // so that a circle is told at the same alias every time
		a := b.aliases[name]
		if _, ok := b.named[b.follow(name)]; ok {
			continue
		}
		at := a.Old
		if b.aliases[at.Text] != nil {
			b.fault(at.Pos, "alias %s leads back to itself or to no element", name)
		} else {
			b.fault(at.Pos, "there is no element %s%s", at.Text, element.DidYouMean(at.Text, b.names()))
		}
		b.named[name] = &named{word: a.New, faulty: true}
	}
}

// follow gives the name at the end of a chain of aliases.
func (b *builder) follow(name string) string {
	for range len(b.aliases) {
		a := b.aliases[name]
		if a == nil || b.named[name] != nil {
			break
		}
		name = a.Old.Text
	}
	return name
}

// find gives what a name stands for, and complains of a name never defined.
func (b *builder) find(name tmesh.Word) *named {
	if n := b.named[b.follow(name.Text)]; n != nil {
		return n
	}
	if !b.broken[b.follow(name.Text)] {
		b.fault(name.Pos, "there is no element %s%s", name.Text, element.DidYouMean(name.Text, b.names()))
	}
	return &named{word: name, faulty: true}
}

func (b *builder) names() []string {
	var names []string
	for name := range b.named {
		names = append(names, name)
	}
	for name := range b.aliases {
		names = append(names, name)
	}
	return names
}

func (b *builder) statement(s tmesh.Statement) {
	switch s := s.(type) {
	case *tmesh.Element:
		if s.Other != nil {
			b.connect(s)
		}
	case *tmesh.Log:
		b.log(s)
	case *tmesh.Command:
		b.command(s)
	case *tmesh.Shell:
		b.fault(s.Verb.Pos, "%s belongs to the live shell and does nothing in a description: remove it", s.Verb.Text)
	}
}

// connect makes a connection, or leaves it out where it concerns the part of
// the machine that tmelink does not emulate.
func (b *builder) connect(s *tmesh.Element) {
	left, right := b.find(s.Name), b.find(s.Other.Name)
	if left.faulty || right.faulty {
		return
	}
	if left.part == nil || right.part == nil {
		b.machine.LeftOut.Statements++
		for _, end := range []struct{ this, that *named }{{left, right}, {right, left}} {
			if p := end.this.part; p != nil && !p.Type.Unplugged {
				b.fault(s.Name.Pos, "%s cannot be connected to %s, which is not a network element", end.this.word.Text, end.that.word.Text)
			}
		}
		return
	}
	if left.part == right.part {
		if b.room(s, left.part) {
			both := append(append([]tmesh.Word(nil), s.Args...), s.Other.Args...)
			if port, ok := b.attach(s, left, left, both); ok {
				b.machine.Connections = append(b.machine.Connections, newConnection(s.At, End{left.part, port}, End{left.part, port}))
			}
		}
		return
	}
	if roomLeft, roomRight := b.room(s, left.part), b.room(s, right.part); !roomLeft || !roomRight {
		return
	}
	a, okA := b.attach(s, left, right, s.Args)
	z, okZ := b.attach(s, right, left, s.Other.Args)
	if okA && okZ {
		b.machine.Connections = append(b.machine.Connections, newConnection(s.At, End{left.part, a}, End{right.part, z}))
	}
}

// room says whether an element takes one more connection, and takes it up.
func (b *builder) room(s *tmesh.Element, p *Part) bool {
	most := p.Type.MaxConnections
	if most > 0 && len(p.connections) >= most {
		b.fault(s.Name.Pos, "%s takes %s and has %s, made at %s; a tme/generic/switch joins more", p.Name,
			count(most, "connection"), map[bool]string{true: "it already", false: "them already"}[most == 1], p.connections[0])
		return false
	}
	p.connections = append(p.connections, s.At)
	return true
}

func (b *builder) log(s *tmesh.Log) {
	n := b.find(s.Element)
	level, ok := logLevel(s.Level.Text)
	switch {
	case !ok:
		b.fault(s.Level.Pos, "%q is not a log level: it is a number, off, debug, info, warn or error", s.Level.Text)
	case n.part != nil:
		n.part.level.Set(level)
	case !n.faulty:
		b.machine.LeftOut.Statements++
	}
}

func (b *builder) command(s *tmesh.Command) {
	n := b.find(s.Element)
	if n.part == nil {
		if !n.faulty {
			b.machine.LeftOut.Statements++
		}
		return
	}
	c, ok := n.part.Element.(element.Commander)
	if !ok {
		b.fault(s.Element.Pos, "%s takes no commands: it is a %s", s.Element.Text, n.part.Type.Path)
		return
	}
	run, err := c.Prepare(element.Args{Pos: s.Element.Pos, Words: s.Args, NoEffect: &b.machine.NoEffect})
	if err != nil {
		b.faults.Add(s.Element.Pos, err)
		return
	}
	text := n.part.Name
	for _, w := range s.Args {
		text += " " + w.Text
	}
	b.machine.Commands = append(b.machine.Commands, &Command{Part: n.part, Pos: s.At, Text: text, Run: run})
}

// logLevel reads a level: TME's numbers, of which 0 is the usual and every
// higher one tells more, off, or a level's name.
func logLevel(s string) (slog.Level, bool) {
	if s == "off" {
		return slog.LevelError + 100, true
	}
	if n, err := strconv.ParseUint(s, 0, 32); err == nil {
		if n == 0 {
			return slog.LevelInfo, true
		}
		return slog.LevelDebug, true
	}
	var level slog.Level
	err := level.UnmarshalText([]byte(s))
	return level, err == nil && !strings.ContainsAny(s, "+-")
}

func count(n int, thing string) string {
	if n == 1 {
		return "one " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// attach asks an element for the port of one more connection, to a peer.
func (b *builder) attach(s *tmesh.Element, n, peer *named, args []tmesh.Word) (ethernet.Port, bool) {
	port, err := n.part.Element.Attach(element.Args{Pos: s.At, Words: args, Peer: peer.part.Name, NoEffect: &b.machine.NoEffect})
	if err != nil {
		b.faults.Add(s.At, err)
		return nil, false
	}
	return port, true
}
