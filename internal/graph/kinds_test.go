package graph

import (
	"fmt"
	"math"
	"testing"
)

// contrast is the contrast ratio of two colours "#rrggbb" (WCAG 2.1, section
// 1.4.11 wants 3 for what carries meaning in a picture).
func contrast(t *testing.T, a, b string) float64 {
	luminance := func(colour string) float64 {
		var rgb [3]int
		if _, err := fmt.Sscanf(colour, "#%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2]); err != nil {
			t.Fatalf("%q is no colour: %v", colour, err)
		}
		sum := 0.0
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			c := float64(rgb[i]) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestKindsCanBeTold(t *testing.T) {
	const frame = "#f4f6fa" // .m of the style sheet
	for kind, c := range kindColours {
		for _, ground := range []string{c.fill, frame} {
			if got := contrast(t, c.line, ground); got < 3 {
				t.Errorf("kind %d: %s on %s has a contrast of %.1f", kind, c.line, ground, got)
			}
		}
		if kindIcons[kind] == "" || dotShapes[kind].shape == "" {
			t.Errorf("kind %d has no icon or no shape", kind)
		}
	}
}
