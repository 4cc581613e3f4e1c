package datachannel

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

func suiteOf(t testing.TB, name, digest string) Suite {
	t.Helper()
	c, err := LookupCipher(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := LookupDigest(digest)
	if err != nil {
		t.Fatal(err)
	}
	return Suite{Cipher: c, Digest: d}
}

func TestNames(t *testing.T) {
	for _, name := range CipherNames() {
		if c, err := LookupCipher(strings.ToLower(name)); err != nil || c.Name != name {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	for name, want := range map[string]string{
		"BF-CBC": "SWEET32", "des-ede3-cbc": "SWEET32", "CAST5-CBC": "SWEET32", "none": "in the clear", "AES-256-CTR": "one of AES-256-GCM",
	} {
		if _, err := LookupCipher(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LookupDigest("MD5"); err == nil || !strings.Contains(err.Error(), "SHA1, SHA256, SHA512") {
		t.Error(err)
	}
	if d, err := LookupDigest("sha256"); err != nil || d.Size() != 32 {
		t.Error(d, err)
	}
	if got := suiteOf(t, "AES-128-CBC", "SHA512").String(); got != "AES-128-CBC with SHA512" {
		t.Error(got)
	}
	if got := suiteOf(t, "aes-192-gcm", "SHA1"); got.String() != "AES-192-GCM" || got.Cipher.KeyBits() != 192 {
		t.Error(got)
	}
}

func TestPacketIDsEnd(t *testing.T) {
	for _, form := range []Form{FormV1(0), FormV2(0, 1)} {
		s := NewSealer(suiteOf(t, "AES-256-GCM", "SHA1"), form, randomHalf())
		s.id = wrapSoon - 2
		dst := make([]byte, 200)
		for _, worn := range []bool{false, true, true} {
			s.Seal(dst, nil)
			if s.Worn() != worn {
				t.Errorf("id %x: worn is %v", s.id, s.Worn())
			}
		}
		s.id = math.MaxUint32 - 3
		for left := 3; left > 0; left-- {
			if n := s.Begin(epoch); n != left {
				t.Fatalf("%d may be sealed, want %d", n, left)
			}
			s.Seal(dst, nil)
		}
		if n := s.Begin(epoch.Add(time.Hour)); n != 0 || s.id != math.MaxUint32 {
			t.Errorf("%d may be sealed behind the last id", n)
		}
	}
}

func TestLongPacketIDsBeginAnew(t *testing.T) {
	half, suite := randomHalf(), suiteOf(t, "AES-128-CBC", "SHA1")
	s, o := NewSealer(suite, StaticForm(), half), NewOpener(suite, StaticForm(), half, window())
	pass := func(now time.Time, id ID) {
		t.Helper()
		if s.Begin(now) == 0 {
			t.Fatal("none may be sealed")
		}
		o.Begin(now)
		packet := bytes.Clone(s.Seal(make([]byte, 200), []byte("x")))
		if got := (ID{s.id, s.time}); got != id {
			t.Fatalf("id %v, want %v", got, id)
		}
		if _, err := o.Open(boxed(packet)); err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		if _, err := o.Open(boxed(packet)); err != ErrReplayed {
			t.Fatalf("%v a second time: %v", id, err)
		}
	}
	first := uint32(epoch.Unix())
	pass(epoch, ID{1, first})
	pass(epoch.Add(time.Minute), ID{2, first})
	s.id = wrapSoon - 1
	pass(epoch.Add(time.Minute), ID{wrapSoon, first})
	if s.Worn() {
		t.Error("a key for ever is worn")
	}
	pass(epoch, ID{wrapSoon + 1, first}) // the clock has not gone on: not yet
	pass(epoch.Add(-time.Hour), ID{wrapSoon + 2, first})
	pass(epoch.Add(2*time.Minute), ID{1, first + 120})
	s.id = math.MaxUint32
	if n := s.Begin(epoch.Add(2 * time.Minute)); n != 0 {
		t.Errorf("%d may be sealed when the ids have run out within a second", n)
	}
	pass(epoch.Add(3*time.Minute), ID{1, first + 180})
}

func TestCiphersHaveALimit(t *testing.T) {
	s := NewSealer(suiteOf(t, "AES-128-GCM", "SHA1"), FormV1(0), randomHalf())
	dst := make([]byte, 2000)
	s.Seal(dst, make([]byte, 33)) // three blocks and the packet's own
	if s.blocks != 4 || s.Worn() {
		t.Errorf("%d blocks, worn %v", s.blocks, s.Worn())
	}
	s.blocks = gcmLimit / 8 * 7
	if s.Worn() {
		t.Error("worn too early")
	}
	s.Seal(dst, nil)
	if !s.Worn() || s.Begin(epoch) == 0 {
		t.Error("not worn, or ended too early")
	}
	s.blocks = gcmLimit - 1
	s.Seal(dst, nil)
	if n := s.Begin(epoch); n != 0 {
		t.Errorf("%d may be sealed beyond the limit", n)
	}
	c := NewSealer(suiteOf(t, "CHACHA20-POLY1305", "SHA1"), FormV1(0), randomHalf())
	if c.blocks = gcmLimit; c.Worn() || c.Begin(epoch) == 0 {
		t.Error("ChaCha20-Poly1305 has no such limit")
	}
}

func newKey(t testing.TB, id byte) *Key {
	suite, half := suiteOf(t, "AES-128-GCM", "SHA1"), randomHalf()
	return &Key{ID: id, Sealer: NewSealer(suite, FormV1(id), half), Opener: NewOpener(suite, FormV1(id), half, window())}
}

func TestSlots(t *testing.T) {
	s := NewSlots()
	packet := func(id byte) []byte { return []byte{OpDataV1<<3 | id, 0, 0, 0, 0} }
	if s.Sending() != nil || s.Opening(packet(0)) != nil {
		t.Fatal("new slots are not empty")
	}
	a, b, c := newKey(t, 0), newKey(t, 1), newKey(t, 0)
	s.Set(a, b, a, c)
	if s.Sending() != a || s.Opening(packet(0)) != a || s.Opening(packet(1)) != b || s.Opening(packet(2)) != nil {
		t.Error("the wrong keys")
	}
	for _, p := range [][]byte{nil, {}, {0}, {4 << 3}, {OpDataV2<<3 | 2, 1, 2, 3}, {31<<3 | 1}} {
		if s.Opening(p) != nil {
			t.Errorf("%x has a key", p)
		}
	}
	s.Begin(epoch)
	s.Set(nil, c)
	if s.Sending() != nil || s.Opening(packet(0)) != c || s.Opening(packet(1)) != nil {
		t.Error("the wrong keys after a change")
	}
	if f := Fixed(a); f.Sending() != a || f.Opening([]byte{0xff}) != a {
		t.Error("a fixed key is for all packets")
	}
}

func TestKeysWear(t *testing.T) {
	k := newKey(t, 0)
	for range 1000 {
		if k.Sealed(1000, 1<<20) {
			t.Fatal("worn without a bound")
		}
	}
	k = newKey(t, 0)
	k.MaxPackets = 10
	if k.Sealed(4, 400) || !k.Opened(5, 500) || k.Opened(0, 0) || k.Worn.Load() || !k.Heard.Load() {
		t.Error("worn by 9 of 10 packets, or not heard")
	}
	if !k.Opened(1, 100) || !k.Worn.Load() || k.Opened(1, 100) || k.Sealed(1, 100) {
		t.Error("it is worn by the tenth packet, and says so once")
	}
	k = newKey(t, 0)
	k.MaxBytes = 1000
	if k.Sealed(1, 999) || !k.Sealed(1, 1) || k.Heard.Load() {
		t.Error("it is worn by the thousandth byte")
	}
	k = newKey(t, 0)
	k.Sealer.id = wrapSoon
	if !k.Sealed(1, 1) || k.Sealed(1, 1) {
		t.Error("it is worn when its packet ids come to an end")
	}
	if (*Key)(nil).Opened(1, 1) {
		t.Error("no key has news")
	}
}
