package ethernet

import (
	"testing"

	"tmelink/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }
