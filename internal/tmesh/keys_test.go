package tmesh

import (
	"bytes"
	"strings"
	"testing"
)

// TestFaultsShowNoKeys leaves out each quote of a description with keys in it, and all
// of them: what is told of it shows no line of a key.
func TestFaultsShowNoKeys(t *testing.T) {
	const whole = "link0 at le0: tme/host/openvpn/socket/link \\\n" +
		"    --cert \"-----BEGIN CERTIFICATE-----\nU0VDUkVUMQ+=\n-----END CERTIFICATE-----\n\" \\\n" +
		"    --key \"-----BEGIN PRIVATE KEY-----\nU0VDUkVUMg==\nU0VDUkVUMw\n-----END PRIVATE KEY-----\n\"\n" +
		"le0: tme/ic/am7990 inet 10.0.77.1\n"
	if _, faults := Parse("a.tme", []byte(whole)); len(faults) > 0 {
		t.Fatal(faults)
	}
	texts := []string{strings.ReplaceAll(whole, `"`, ""), strings.Replace(whole, "-----END PRIVATE KEY-----\n\"", "", 1)}
	for i, c := range whole {
		if c == '"' {
			texts = append(texts, whole[:i]+whole[i+1:])
		}
	}
	for _, text := range texts {
		_, faults := Parse("a.tme", []byte(text))
		if len(faults) == 0 {
			t.Errorf("no fault in:\n%s", text)
		}
		var told bytes.Buffer
		faults.Print(&told, Sources{"a.tme": []byte(text)})
		if strings.Contains(told.String(), "U0VDUkVU") {
			t.Errorf("a key is shown:\n%s", told.String())
		}
	}
}
