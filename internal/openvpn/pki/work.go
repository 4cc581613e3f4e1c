package pki

import (
	"encoding/asn1"
	"errors"
	"math"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxWork bounds the iterations of a key derivation, and the blocks of 128
	// bytes that scrypt takes: a few seconds, half a gigabyte. OpenSSL writes 2048
	// iterations.
	maxWork = 1 << 22
	// maxDepth is how deep a file's structures are followed; those that are used
	// end at half of it.
	maxDepth = 64
)

var errWork = errors.New("it asks for more work to open than any program writes: is the file damaged?")

// checkWork refuses a file that would keep the process busy for minutes. Every key
// derivation's parameters are a salt with numbers behind it: the iterations
// (PBKDF2-params of RFC 8018, pkcs-12PbeParams and MacData of RFC 7292), or cost,
// block size and parallelism (scrypt-params of RFC 7914). What is itself encrypted is
// not seen; who wrote that knows the password.
func checkWork(der []byte) error { return walk(cryptobyte.String(der), maxDepth) }

func walk(s cryptobyte.String, depth int) error {
	if depth == 0 {
		return nil
	}
	salted := false
	var numbers []uint64
	for !s.Empty() {
		var body cryptobyte.String
		var tag cryptobyte_asn1.Tag
		if !s.ReadAnyASN1(&body, &tag) {
			return nil // not DER, which the parser will say
		}
		switch {
		case tag == asn1.TagInteger && salted:
			numbers = append(numbers, number(body))
			if excessive(numbers) {
				return errWork
			}
			continue
		case tag&constructed != 0, tag == asn1.TagOctetString && wraps(body):
			if err := walk(body, depth-1); err != nil {
				return err
			}
		}
		salted, numbers = tag == asn1.TagOctetString, nil
	}
	return nil
}

const constructed = 0x20 // the bit of a tag that holds others

// wraps says whether an octet string is one sequence and nothing else.
func wraps(body cryptobyte.String) bool {
	var inner cryptobyte.String
	return body.ReadASN1(&inner, cryptobyte_asn1.SEQUENCE) && body.Empty()
}

// number is the value of an INTEGER; too large for what it is here, MaxUint64.
func number(body []byte) uint64 {
	if len(body) > 4 {
		return math.MaxUint64
	}
	var n uint64
	for _, b := range body {
		n = n<<8 | uint64(b)
	}
	return n
}

// excessive says whether the numbers after a salt are too much work. Two are
// PBKDF2's iterations and the length of its key.
func excessive(numbers []uint64) bool {
	work := numbers[0]
	if len(numbers) > 2 {
		for _, n := range numbers[1:] {
			if n > maxWork {
				return true
			}
			work *= max(n, 1)
		}
	}
	return work > maxWork || len(numbers) == 2 && numbers[1] > maxWork
}
