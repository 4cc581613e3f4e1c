package controlchannel

import (
	"fmt"

	"tmelink/internal/openvpn/pki"
)

// explain adds to an error of TLS what the other side has to change, where the peer
// has said that it refuses us.
func explain(err error) error {
	if hint := pki.TLSAlertHint(err); hint != "" {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return err
}
