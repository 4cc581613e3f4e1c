package element

import (
	"cmp"
	"slices"
	"strings"
)

// Nearest gives up to three of the names that a slip of the keys could have
// made word of, the nearest first.
func Nearest(word string, names []string) []string {
	type near struct {
		name     string
		distance int
	}
	limit := max(1, len(word)/3)
	var found []near
	for _, name := range names {
		if d := distance(word, name); d <= limit {
			found = append(found, near{name, d})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name))
	})
	var best []string
	for _, n := range found[:min(3, len(found))] {
		if n.distance <= found[0].distance+1 {
			best = append(best, n.name)
		}
	}
	return best
}

// DidYouMean is the end of an error about an unknown word: "; did you mean
// a or b?", or nothing where no name is near.
func DidYouMean(word string, names []string) string {
	near := Nearest(word, names)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// distance is the number of single-byte insertions, deletions and replacements
// between two words (Levenshtein). Very long words are never near.
func distance(a, b string) int {
	if len(a) > 200 || len(b) > 200 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
