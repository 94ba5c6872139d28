package ext4

import "fmt"

const (
	extentMagic  = 0xF30A
	extentSize   = 12
	maxDepth     = 5
	maxRuns      = 1 << 20 // of one file; more are a fragmentation that no image has
	unwrittenLen = 32768   // a longer extent is one of so much less that was never written
)

// runs returns where a file's blocks lie, in their order.
func (i *Inode) runs() ([]run, error) {
	if i.flags&(flagInlineData|flagEncrypted) != 0 {
		return nil, notRead("inode %d has its content in a way that is unknown here (flags %#x)", i.Number, i.flags)
	}
	if i.flags&flagExtents == 0 {
		return i.mappedRuns()
	}
	runs, err := i.extents(i.blocks[:], -1, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the extents of inode %d: %w", i.Number, err)
	}
	for n := 1; n < len(runs); n++ {
		if runs[n].first < runs[n-1].first+runs[n-1].count {
			return nil, notRead("the extents of inode %d overlap", i.Number)
		}
	}
	return runs, nil
}

// extents adds what a node of the tree says. depth is that of the node, -1 for the first, which says it itself.
func (i *Inode) extents(node []byte, depth int, runs []run) ([]run, error) {
	if le.Uint16(node) != extentMagic {
		return nil, notRead("no node of a tree of extents")
	}
	entries, own := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
	if own > maxDepth || depth >= 0 && own != depth || (entries+1)*extentSize > len(node) || len(runs)+entries > maxRuns {
		return nil, notRead("a node of %d extents in depth %d", entries, own)
	}
	for n := range entries {
		entry := node[(n+1)*extentSize:]
		first := uint64(le.Uint32(entry))
		if own == 0 {
			count, start := uint64(le.Uint16(entry[4:])), uint64(le.Uint16(entry[6:]))<<32|uint64(le.Uint32(entry[8:]))
			empty := count > unwrittenLen
			if empty {
				count -= unwrittenLen
			}
			runs = append(runs, run{first: first, count: count, start: start, empty: empty})
			continue
		}
		child := make([]byte, i.fs.blockSize)
		err := i.fs.readAt(child, uint64(le.Uint16(entry[8:]))<<32|uint64(le.Uint32(entry[4:])), 0)
		if err != nil {
			return nil, err
		}
		if runs, err = i.extents(child, own-1, runs); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// mappedRuns reads the way of ext2: twelve blocks, then blocks of blocks.
func (i *Inode) mappedRuns() ([]run, error) {
	const direct, levels = 12, 3
	m := &blockMap{inode: i, left: uint64((i.Size + i.fs.blockSize - 1) / i.fs.blockSize)}
	for n := range direct {
		m.add(le.Uint32(i.blocks[4*n:]))
	}
	for level := range levels {
		if err := m.indirect(le.Uint32(i.blocks[4*(direct+level):]), level); err != nil {
			return nil, fmt.Errorf("reading the blocks of inode %d: %w", i.Number, err)
		}
	}
	return m.runs, nil
}

type blockMap struct {
	inode *Inode
	runs  []run
	next  uint64 // block of the file
	left  uint64 // blocks of the file
}

func (m *blockMap) add(block uint32) {
	if m.left == 0 {
		return
	}
	m.left--
	last := len(m.runs) - 1
	switch {
	case block == 0:
	case last >= 0 && m.runs[last].first+m.runs[last].count == m.next && m.runs[last].start+m.runs[last].count == uint64(block):
		m.runs[last].count++
	default:
		m.runs = append(m.runs, run{first: m.next, count: 1, start: uint64(block)})
	}
	m.next++
}

func (m *blockMap) indirect(block uint32, level int) error {
	perBlock := uint64(m.inode.fs.blockSize / 4)
	if m.left == 0 {
		return nil
	}
	if block == 0 {
		covered := perBlock
		for range level {
			covered *= perBlock
		}
		covered = min(covered, m.left)
		m.left, m.next = m.left-covered, m.next+covered
		return nil
	}
	if len(m.runs) > maxRuns {
		return notRead("more than %d pieces", maxRuns)
	}
	content := make([]byte, m.inode.fs.blockSize)
	if err := m.inode.fs.readAt(content, uint64(block), 0); err != nil {
		return err
	}
	for n := range perBlock {
		entry := le.Uint32(content[4*n:])
		if level == 0 {
			m.add(entry)
		} else if err := m.indirect(entry, level-1); err != nil {
			return err
		}
	}
	return nil
}
