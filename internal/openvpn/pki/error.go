package pki

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Kind says in which way a peer's certificate was not accepted.
type Kind int

// The kinds of a VerifyError.
const (
	NoCertificate    Kind = iota + 1 // the peer showed none
	WrongFingerprint                 // --peer-fingerprint does not have it
	UnknownCA                        // no way from it to a CA of --ca
	BadChain                         // there is a way, but a CA on it may not do what it does
	Expired                          // it, or a CA on the way, is no longer valid
	NotYetValid                      // it, or a CA on the way, is not valid yet
	Weak                             // a key or signature that --tls-cert-profile legacy refuses
	Revoked                          // --crl-verify has it, or a CA on the way
	BadCRL                           // --crl-verify is out of date, or not of that CA
	WrongPurpose                     // it is not for the role in which the peer showed it
	LacksUsage                       // --remote-cert-tls wants what it does not have
	WrongName                        // --verify-x509-name wants another
)

// VerifyError says why the peer was not believed, and which side must change what.
type VerifyError struct {
	Kind    Kind
	message string
}

// Error is one line without a control character, whatever the peer's certificate
// has in it.
func (e *VerifyError) Error() string { return e.message }

func refuse(kind Kind, format string, args ...any) *VerifyError {
	return &VerifyError{Kind: kind, message: fmt.Sprintf(format, args...)}
}

// short names a certificate in an error.
func short(c *x509.Certificate) string {
	if name := printable(Subject(c)); name != "" {
		return "(" + name + ")"
	}
	return "(without a name)"
}

// moment is a time as an error has it. The day is not enough where a clock is wrong
// by its time zone.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
