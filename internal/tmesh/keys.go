package tmesh

import "strings"

// withoutKeys puts one fault in the place of all those that stand inside one PEM block
// (RFC 7468). Its lines are taken for statements where a quote is missing, here or
// before; what they hold may be a private key, which no fault may show.
func withoutKeys(source string, faults Faults) Faults {
	if len(faults) == 0 {
		return nil
	}
	blocks := pemLines(source)
	var kept Faults
	told := map[int]bool{}
	for _, f := range faults {
		begin, inside := blocks[f.Pos.Line]
		switch {
		case !inside:
			kept = append(kept, f)
		case !told[begin]:
			told[begin] = true
			kept = append(kept, Faultf(Pos{f.Pos.File, begin, 1}, `this key or certificate does not stand in quotes: one is missing before it, or behind the one before it; write "-----BEGIN …", all its lines, and " behind the last`))
		}
	}
	return kept
}

// pemLines gives the lines of each PEM block behind its first one, and the number of
// that.
func pemLines(source string) map[int]int {
	lines := map[int]int{}
	begin, number := 0, 0
	for line := range strings.Lines(source) {
		number++
		switch {
		case strings.Contains(line, "-----BEGIN "):
			begin = number
		case begin != 0:
			lines[number] = begin
			if strings.Contains(line, "-----END ") {
				begin = 0
			}
		}
	}
	return lines
}
