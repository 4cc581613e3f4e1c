//go:build !amd64

package ethernet

import "math"

// vectorMin is more bytes than there are: no vectors are made use of here.
var vectorMin = math.MaxInt

func sumVectors(b []byte, initial uint16) (rest []byte, folded uint16) { return b, initial }
