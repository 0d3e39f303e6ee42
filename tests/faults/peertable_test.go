package faults

import (
	"fmt"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// peerTable is what TestPeers has seen, which -publish writes into docs/peers.md. It
// is safe for concurrent use.
type peerTable struct {
	where string // it was seen

	mu    sync.Mutex
	cells map[[2]string]string // by case and peer; guarded by mu
}

// newPeerTable is complete, and published, when the subtests of t have ended.
func newPeerTable(t *testing.T) *peerTable {
	table := &peerTable{where: lab.Machine(time.Now()), cells: map[[2]string]string{}}
	t.Cleanup(func() {
		if !theStage.publish || t.Failed() {
			return
		}
		if len(table.cells) != len(peerCases())*len(peers()) {
			t.Fatal("-publish is for all cases and peers")
		}
		root, err := rig.Root()
		noError(t, err)
		noError(t, lab.Publish(filepath.Join(root, "docs", "peers.md"), "faults", table.text(t), nil))
	})
	return table
}

// note is for a case and a peer.
func (p *peerTable) note(c peerCase, by peer, m *meeting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cells[[2]string{c.name, by.name}] = m.String()
}

// text is the table, and what one must know to read it.
func (p *peerTable) text(t *testing.T) string {
	t.Helper()
	head := []string{"fault"}
	for _, by := range peers() {
		head = append(head, versionOf(t, by))
	}
	var rows [][]string
	for _, c := range peerCases() {
		row := []string{c.name}
		for _, by := range peers() {
			row = append(row, p.cells[[2]string{c.name, by.name}])
		}
		rows = append(rows, row)
	}
	return fmt.Sprintf("%s. One object of %d MiB, faults that pass after %v.\n\n", p.where, 2*theStage.size>>20, theStage.outage) +
		lab.Table(head, rows)
}

// versionOf is the peer's name with its version, which for ours is the commit.
func versionOf(t *testing.T, p peer) string {
	t.Helper()
	if p.upgrade != nil {
		return p.name
	}
	out := succeed(t, p.command("", "", "", "").Path, "--version")
	return p.name + " " + regexp.MustCompile(`\d+\.\d[\d.]*`).FindString(out)
}
