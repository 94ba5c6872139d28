package protocol

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// A Print is a fingerprint of all that a file's fact follows from without a look into the file: its path, inode, time of change,
// size, mode, and the names of its owner and its package. Nobody can set the time of change back. 0 is that of a file that has to
// be read anew: one that was just changed, or on a file system whose times are not to be trusted.
type Print uint64

// An Index tells the probe which files the host knows already, so that it answers "as you know it" with one bit for each.
type Index struct {
	prints []Print // in rising order, each once, none of them 0
}

// NewIndex makes an index of prints in any order.
func NewIndex(prints []Print) Index {
	sorted := slices.DeleteFunc(slices.Clone(prints), func(p Print) bool { return p == 0 })
	slices.Sort(sorted)
	return Index{slices.Compact(sorted)}
}

// Len returns the number of prints.
func (x Index) Len() int { return len(x.prints) }

// At returns the print at a position.
func (x Index) At(i int) Print { return x.prints[i] }

// Find returns the position of a print.
func (x Index) Find(p Print) (position int, found bool) {
	return slices.BinarySearch(x.prints, p)
}

const (
	indexMagic = "plfiles1"
	printSize  = 8
	// maxIndex is the most files of which an index can tell.
	maxIndex = MaxFacts
)

// Bytes renders the index as it is put into the guest.
func (x Index) Bytes() []byte {
	content := make([]byte, 0, len(indexMagic)+printSize*len(x.prints))
	content = append(content, indexMagic...)
	for _, p := range x.prints {
		content = binary.LittleEndian.AppendUint64(content, uint64(p))
	}
	return content
}

// MaxIndexSize bounds the rendered index, in bytes.
const MaxIndexSize = len(indexMagic) + printSize*maxIndex

// ParseIndex reads what [Index.Bytes] made.
func ParseIndex(content []byte) (Index, error) {
	rest := content[min(len(indexMagic), len(content)):]
	if len(content) > MaxIndexSize || string(content[:len(content)-len(rest)]) != indexMagic || len(rest)%printSize != 0 {
		return Index{}, errors.New("reading an index of files: not one")
	}
	prints := make([]Print, 0, len(rest)/printSize)
	for ; len(rest) > 0; rest = rest[printSize:] {
		p := Print(binary.LittleEndian.Uint64(rest))
		if len(prints) > 0 && p <= prints[len(prints)-1] || p == 0 {
			return Index{}, errors.New("reading an index of files: not in order")
		}
		prints = append(prints, p)
	}
	return Index{prints}, nil
}

// IndexPath is where an index lies in the guest. Its name holds its digest: a look tells whether the right one is there.
func IndexPath(content []byte) string {
	sum := sha256.Sum256(content)
	return fmt.Sprintf("%s/files-%s", Dir, hex.EncodeToString(sum[:8]))
}

// Files is what a document says of files beside its facts. All file facts of the guest are those in the document and those of the
// index that were seen.
type Files struct {
	// Seen has a bit for each position of the index: the lowest bit of the first byte is position 0.
	Seen []byte `json:"seen,omitempty"`
	// Prints are those of the document's file facts, in their order, as 8 bytes each, the lowest first.
	Prints []byte `json:"prints,omitempty"`
}

// NewSeen returns room for the bits of an index.
func NewSeen(x Index) []byte { return make([]byte, (x.Len()+7)/8) }

// SetSeen sets a position's bit.
func SetSeen(seen []byte, position int) { seen[position/8] |= 1 << (position % 8) }

// IsSeen tells whether a position's bit is set. There may be fewer bits than positions.
func IsSeen(seen []byte, position int) bool {
	return position/8 < len(seen) && seen[position/8]&(1<<(position%8)) != 0
}

// AddPrint appends a print to [Files.Prints].
func (f *Files) AddPrint(p Print) { f.Prints = binary.LittleEndian.AppendUint64(f.Prints, uint64(p)) }

// Print returns the print of the document's file fact number i, 0 if it has none.
func (f *Files) Print(i int) Print {
	at := i * printSize
	if f == nil || at < 0 || at+printSize > len(f.Prints) {
		return 0
	}
	return Print(binary.LittleEndian.Uint64(f.Prints[at:]))
}
