package generic

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

var quiet = element.Env{Log: slog.New(slog.DiscardHandler)}

// wire makes an element and attaches two connections with their own words.
func wire(text, first, second string) (*Impair, error) {
	e, err := NewImpair(quiet, words(text))
	if err != nil {
		return nil, err
	}
	for _, own := range []string{first, second} {
		if _, err := e.Attach(words(own)); err != nil {
			return nil, err
		}
	}
	return e.(*Impair), nil
}

func TestImpairWords(t *testing.T) {
	none := impairments{limit: 1000}
	for _, c := range []struct {
		text, first, second string
		there, back         impairments
	}{
		{"", "", "", none, none},
		{"delay 20ms jitter 1.5ms loss 1% duplicate 0.5% reorder 100% corrupt 0 rate 10mbit limit 5 seed 42", "", "",
			impairments{delay: 20 * time.Millisecond, jitter: 1500 * time.Microsecond, loss: 0.01, duplicate: 0.005, reorder: 1, rate: 10e6, limit: 5},
			impairments{delay: 20 * time.Millisecond, jitter: 1500 * time.Microsecond, loss: 0.01, duplicate: 0.005, reorder: 1, rate: 10e6, limit: 5}},
		{"delay 1s rate 1.5Mbit", "rate 56kbit", "delay 0 rate off loss 0%",
			impairments{delay: time.Second, rate: 56000, limit: 1000}, none},
		{"", "rate 100gbit", "rate 1000bit", impairments{rate: 100e9, limit: 1000}, impairments{rate: 1000, limit: 1000}},
		{"jitter 1ms delay 1ms", "", "jitter 0", impairments{delay: time.Millisecond, jitter: time.Millisecond, limit: 1000}, impairments{delay: time.Millisecond, limit: 1000}},
	} {
		e, err := wire(c.text, c.first, c.second)
		if err != nil {
			t.Errorf("%q, %q, %q: %v", c.text, c.first, c.second, err)
			continue
		}
		for i, want := range []impairments{c.there, c.back} {
			got := e.ports[i].in.conf
			got.jitterAt, got.reorderAt = element.Values{}, element.Values{}
			if !same(got, want) {
				t.Errorf("%q, %q, %q: direction %d has %+v, want %+v", c.text, c.first, c.second, i, got, want)
			}
		}
	}
}

func same(a, b impairments) bool {
	return a.delay == b.delay && a.jitter == b.jitter && a.loss == b.loss && a.duplicate == b.duplicate &&
		a.reorder == b.reorder && a.corrupt == b.corrupt && a.rate == b.rate && a.limit == b.limit
}

func TestImpairFaults(t *testing.T) {
	const (
		notTime    = ` is not a time such as 20ms, from 0 to 1h`
		notPercent = ` is not a percentage such as 0.1%, from 0% to 100%`
		notRate    = ` is not a rate such as 10mbit, from 1kbit to 100gbit, and not off`
	)
	for _, c := range []struct{ text, own, fault string }{
		{"delay 20", "", `test:1:2: delay: "20"` + notTime},
		{"delay -1ms", "", `test:1:2: delay: "-1ms"` + notTime},
		{"delay 61m", "", `test:1:2: delay: "61m"` + notTime},
		{"delay 1h jitter 9999999h", "", `test:1:4: jitter: "9999999h"` + notTime},
		{"loss 1", "", `test:1:2: loss: "1"` + notPercent},
		{"loss 101%", "", `test:1:2: loss: "101%"` + notPercent},
		{"duplicate -1%", "", `test:1:2: duplicate: "-1%"` + notPercent},
		{"corrupt nan%", "", `test:1:2: corrupt: "nan%"` + notPercent},
		{"delay 1s reorder 1e1%", "", `test:1:4: reorder: "1e1%"` + notPercent},
		{"corrupt %", "", `test:1:2: corrupt: "%"` + notPercent},
		{"loss 1.2.3%", "", `test:1:2: loss: "1.2.3%"` + notPercent},
		{"rate 10", "", `test:1:2: rate: "10"` + notRate},
		{"rate 10mbps", "", `test:1:2: rate: "10mbps"` + notRate},
		{"rate 999bit", "", `test:1:2: rate: "999bit"` + notRate},
		{"rate 101gbit", "", `test:1:2: rate: "101gbit"` + notRate},
		{"rate 1tbit", "", `test:1:2: rate: "1tbit"` + notRate},
		{"rate gbit", "", `test:1:2: rate: "gbit"` + notRate},
		{"limit 0", "", `test:1:2: limit: "0" is not a number from 1 to 65536`},
		{"seed -1", "", `test:1:2: seed: "-1" is not a number from 0 to 2147483647`},
		{"delay 5ms jitter 6ms", "", `test:1:4: jitter: 6ms is more than the delay of 5ms, and no frame arrives before it is sent: give a longer delay`},
		{"reorder 1%", "", `test:1:2: reorder: without a delay there is nobody to overtake: give a delay`},
		{"delay 5ms", "jitter 6ms", `test:1:2: jitter: 6ms is more than the delay of 5ms, and no frame arrives before it is sent: give a longer delay`},
		{"delay 5ms reorder 1%", "delay 0", `test:1:4: reorder: without a delay there is nobody to overtake: give a delay`},
		{"", "seed 1", `test:1:1: unknown option "seed"`},
		{"delai 5ms", "", `test:1:1: unknown option "delai"; did you mean delay?`},
		{"loss 1% loss 2%", "", `test:1:3: loss is given twice, first at line 1`},
	} {
		_, err := wire(c.text, c.own, "")
		if err == nil || err.Error() != c.fault {
			t.Errorf("%q, %q: %v, want %s", c.text, c.own, err, c.fault)
		}
	}
}

func TestImpairIsDocumented(t *testing.T) {
	typ, ok := element.Lookup("nme/generic/impair")
	if !ok || typ.MaxConnections != 2 || typ.Summary == "" || typ.Doc == "" || typ.Example == "" {
		t.Fatalf("%+v", typ)
	}
	if len(typ.Options) != len(typ.ConnectionOptions)+1 {
		t.Errorf("%d options behind the type, %d in a connection", len(typ.Options), len(typ.ConnectionOptions))
	}
	for _, o := range typ.Options {
		if o.Doc == "" {
			t.Errorf("%s is not explained", o.Name)
		}
	}
}

// Whatever words are taken, they are in bounds, and frames get through a lane of
// them without a time that overflows.
func FuzzImpairWords(f *testing.F) {
	f.Add("delay 20ms jitter 5ms loss 1% duplicate 0.1% reorder 2% corrupt 0.01% rate 10mbit limit 10 seed 42", "rate off")
	f.Add("rate 1kbit limit 65536 delay 1h jitter 1h", "loss 0 delay 0s jitter 0")
	f.Add("rate 99.99999Gbit", "corrupt 100% duplicate 100%")
	f.Add("delay 9223372036854775807ns", "loss 1e400%")
	frames := []ethernet.Frame{{Data: make([]byte, ethernet.MaxFrameLen)}, frame(host(1), host(2), 1)}
	f.Fuzz(func(t *testing.T, text, own string) {
		e, err := wire(text, own, own)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("a fault without words")
			}
			return
		}
		l := &e.ports[0].in
		c := &l.conf
		for _, p := range []float64{c.loss, c.duplicate, c.reorder, c.corrupt} {
			if !(p >= 0 && p <= 1) {
				t.Fatalf("a probability of %v", p)
			}
		}
		if c.delay < 0 || c.delay > time.Hour || c.jitter < 0 || c.jitter > c.delay ||
			c.rate != 0 && (c.rate < 1000 || c.rate > 100e9) || c.limit < 1 || c.limit > 65536 {
			t.Fatalf("out of bounds: %+v", c)
		}
		now := 24 * 365 * time.Hour
		l.put(frames, now)
		if due := l.next(); due < now || due != never && due > now+3*time.Hour {
			t.Errorf("due at %v", due-now)
		}
		l.close()
	})
}
