package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

var began = time.Unix(1700000000, 123456000)

// written is a file of some packets of 1, 2, 3… bytes, a millisecond apart.
func written(t testing.TB, ng bool, snaplen, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, snaplen, ng)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Write(began.Add(time.Duration(i)*time.Millisecond), bytes.Repeat([]byte{byte(i)}, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, ng := range []bool{false, true} {
		r, err := NewReader(bytes.NewReader(written(t, ng, 50, 100)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			p, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte{byte(i)}, min(i+1, 50))
			if !bytes.Equal(p.Data, want) || p.Length != i+1 || p.Link != Ethernet || !p.Time.Equal(began.Add(time.Duration(i)*time.Millisecond)) {
				t.Fatalf("pcapng %v: packet %d is %v", ng, i, p)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

// file makes a file out of words of 32 bits, in a byte order, and bytes.
func file(order binary.AppendByteOrder, parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = order.AppendUint32(b, uint32(p))
		case string:
			b = append(b, p...)
		}
	}
	return b
}

func TestFormats(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		half := func(a, b int) int { // two words of 16 bits
			x := order.AppendUint16(order.AppendUint16(nil, uint16(a)), uint16(b))
			return int(order.(binary.ByteOrder).Uint32(x))
		}
		classicHead := []any{magicMicro, half(2, 4), 0, 0, 65535, 1}
		section := []any{magicSection, 28, byteOrderMagic, half(1, 0), -1, -1, 28}
		ethernet := []any{blockInterface, 20, half(1, 0), 0, 20}
		with := func(parts ...[]any) []any {
			var all []any
			for _, p := range parts {
				all = append(all, p...)
			}
			return all
		}
		for name, test := range map[string]struct {
			parts []any
			want  string // of each packet: time, data, length, link
			fault string
		}{
			"micro":        {with(classicHead, []any{7, 5, 4, 9, "abcd"}), "7.000005000 abcd 9 1;", ""},
			"nano":         {with([]any{magicNano, half(2, 4), 0, 0, 65535, 0x20000000 + 113}, []any{7, 5, 1, 1, "x"}), "7.000000005 x 1 113;", ""},
			"other":        {with([]any{magicMicro, half(3, 0), 0, 0, 65535, 1}), "", "version 3.0"},
			"cut head":     {classicHead[:4], "", io.ErrUnexpectedEOF.Error()},
			"cut record":   {with(classicHead, []any{7, 5, 4}), "", io.ErrUnexpectedEOF.Error()},
			"cut data":     {with(classicHead, []any{7, 5, 4, 4, "abc"}), "", io.ErrUnexpectedEOF.Error()},
			"too long":     {with(classicHead, []any{7, 5, MaxPacket + 1, 4, "abc"}), "", "it is damaged"},
			"none":         {nil, "", ErrFormat.Error()},
			"text":         {[]any{"#!/bin/sh"}, "", ErrFormat.Error()},
			"pcapng":       {with(section, ethernet, []any{blockPacket, 36, 0, 0, 7000005, 3, 9, "abc\x00", 36}), "7.000005000 abc 9 1;", ""},
			"old packet":   {with(section, ethernet, []any{blockOldPacket, 36, half(0, 3), 0, 7000005, 3, 9, "abc\x00", 36}), "7.000005000 abc 9 1;", ""},
			"simple":       {with(section, []any{blockInterface, 20, half(1, 0), 3, 20, blockSimple, 20, 9, "abc\x00", 20}), "-62135596800.000000000 abc 9 1;", ""},
			"resolution":   {with(section, []any{blockInterface, 40, half(1, 0), 0, half(9, 1), "\x83\x00\x00\x00", half(14, 0), half(0, 0), 0, 40}, []any{blockPacket, 32, 0, 0, 12, 0, 0, 32}), "1.500000000  0 1;", ""},
			"passed over":  {with(section, []any{0xbad, 16, "what", 16}, ethernet, []any{blockPacket, 32, 0, 0, 0, 0, 0, 32}), "0.000000000  0 1;", ""},
			"two sections": {with(section, ethernet, section, []any{blockInterface, 20, half(113, 0), 0, 20}, []any{blockPacket, 32, 0, 0, 0, 0, 0, 32}), "0.000000000  0 113;", ""},
			"no interface": {with(section, []any{blockPacket, 32, 0, 0, 0, 0, 0, 32}), "", "it is damaged"},
			"no simple":    {with(section, []any{blockSimple, 16, 0, 16}), "", "it is damaged"},
			"long packet":  {with(section, ethernet, []any{blockPacket, 32, 0, 0, 0, 1, 0, 32}), "", "it is damaged"},
			"other length": {with(section, ethernet, []any{blockPacket, 32, 0, 0, 0, 0, 0, 36}), "", "36 at its end"},
			"huge block":   {with(section, []any{0xbad, maxBlock + 4}), "", "it is damaged"},
			"huge packet":  {with(section, []any{blockPacket, maxRead + 4}), "", "it is damaged"},
			"odd block":    {with(section, []any{0xbad, 13}), "", "it is damaged"},
			"cut block":    {with(section, []any{0xbad, 16, "what"}), "", io.ErrUnexpectedEOF.Error()},
			"cut type":     {with(section, []any{0xbad}), "", io.ErrUnexpectedEOF.Error()},
			"bad order":    {[]any{magicSection, 28, 0, 1, -1, -1, 28}, "", ErrFormat.Error()},
			"version 2":    {[]any{magicSection, 28, byteOrderMagic, half(2, 0), -1, -1, 28}, "", "version 2.0"},
			"cut section":  {section[:2], "", io.ErrUnexpectedEOF.Error()},
		} {
			got, err := all(file(order, test.parts...))
			if got != test.want || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s, %v: %q, %v; want %q, %q", name, order, got, err, test.want, test.fault)
			}
		}
	}
}

// all reads a whole file.
func all(data []byte) (got string, err error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	var s strings.Builder
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s.String(), nil
		}
		if err != nil {
			return s.String(), err
		}
		s.WriteString(describe(p))
	}
}

func FuzzReader(f *testing.F) {
	f.Add(written(f, false, 50, 3))
	f.Add(written(f, true, 50, 3))
	f.Add(file(binary.BigEndian, magicSection, 28, byteOrderMagic, 1<<16, -1, -1, 28, blockInterface, 40, 1<<16, 0, 9<<16|1, "\x83\x00\x00\x00", 14<<16, 0, 0, 40, blockPacket, 32, 0, -1, -1, 0, 0, 32))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		for total := 0; ; {
			p, err := r.Next()
			if err != nil {
				break
			}
			if total += len(p.Data); total > len(data) || p.Length < 0 || len(p.Data) > MaxPacket {
				t.Fatalf("%d bytes of packets out of a file of %d", total, len(data))
			}
		}
		if cap(r.buf) > maxRead {
			t.Fatalf("a buffer of %d bytes", cap(r.buf))
		}
	})
}

func describe(p Packet) string {
	return fmt.Sprintf("%d.%09d %s %d %d;", p.Time.Unix(), p.Time.Nanosecond(), p.Data, p.Length, p.Link)
}
