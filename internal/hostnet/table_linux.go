package hostnet

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A table of ours is of family inet, is named after the TAP device that it
// serves, and holds the journal in a chain that no packet passes, one rule an
// entry: a counter that counts nothing, and the entry as its comment.
const (
	tablePrefix  = "tmelink-"
	journalChain = "journal"
)

// table is a journal as it stands in the kernel.
type table struct {
	name    string
	owner   owner
	entries []entry
	// strange are lines that this package did not write.
	strange []error
}

// tables reads all journals of the namespace.
func (n *Namespace) tables() ([]table, error) {
	nft, err := n.nft()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	all, err := nft.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list the nftables tables: %w", explain(err))
	}
	var ours []table
	for _, t := range all {
		if !strings.HasPrefix(t.Name, tablePrefix) {
			continue
		}
		rules, err := nft.GetRules(t, &nftables.Chain{Name: journalChain, Table: t})
		if err != nil || len(rules) == 0 {
			continue // somebody else's, in spite of its name
		}
		ours = append(ours, readTable(t.Name, rules))
	}
	return ours, nil
}

func readTable(name string, rules []*nftables.Rule) table {
	t := table{name: name, owner: owner{unread: true}}
	for i, r := range rules {
		line := comment(r.UserData)
		if i == 0 {
			if o, err := parseOwner(line); err == nil {
				t.owner = o
				continue
			}
		}
		if e, err := parseEntry(line); err != nil {
			t.strange = append(t.strange, err)
		} else {
			t.entries = append(t.entries, e)
		}
	}
	return t
}

// addTable puts the table's making into a batch.
func addTable(nft *nftables.Conn, name string, o owner) *nftables.Table {
	t := nft.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	nft.AddChain(&nftables.Chain{Name: journalChain, Table: t})
	addLine(nft, t, o.String())
	return t
}

// addLine puts an entry's writing into a batch.
func addLine(nft *nftables.Conn, t *nftables.Table, line string) {
	nft.AddRule(&nftables.Rule{
		Table:    t,
		Chain:    &nftables.Chain{Name: journalChain, Table: t},
		Exprs:    []expr.Any{&expr.Counter{}},
		UserData: commentData(line),
	})
}

// deleteTable removes a table and all that is in it, if it is there.
func (n *Namespace) deleteTable(name string) error {
	nft, err := n.nft()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	nft.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	if err := nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %s: %w", name, explain(err))
	}
	return nil
}

// udataComment is the type of a comment in a rule's user data, which is a list
// of type, length and value, a byte, a byte and as many as the length says
// (NFTNL_UDATA_RULE_COMMENT, libnftnl).
const udataComment = 0

func commentData(line string) []byte {
	return append(append([]byte{udataComment, byte(len(line) + 1)}, line...), 0)
}

// comment finds the comment in a rule's user data, without the NUL at its end.
func comment(udata []byte) string {
	for len(udata) >= 2 && len(udata) >= 2+int(udata[1]) {
		value := udata[2 : 2+int(udata[1])]
		if udata[0] == udataComment {
			return strings.TrimSuffix(string(value), "\x00")
		}
		udata = udata[2+len(value):]
	}
	return ""
}
