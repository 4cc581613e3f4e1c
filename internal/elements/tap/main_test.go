package tap

import (
	"testing"

	"tmelink/internal/nstest"
)

func TestMain(m *testing.M) {
	if runAsChild() {
		return
	}
	nstest.Main(m)
}
