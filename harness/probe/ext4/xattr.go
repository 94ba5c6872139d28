package ext4

import "fmt"

const (
	xattrMagic  = 0xEA020000
	xattrHeader = 32 // of a block
	xattrEntry  = 16
)

// xattrPrefixes are written as numbers.
var xattrPrefixes = map[byte]string{1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.", 7: "system."}

// Extended returns an extended attribute, "" if the file has none of that name.
func (i *Inode) Extended(attribute string) (string, error) {
	// In the inode itself, after its fields.
	if end := i.extraEnd(); len(i.raw) >= end+4 && le.Uint32(i.raw[end:]) == xattrMagic {
		area := i.raw[end+4:]
		if value, found, err := findXattr(area, area, attribute); found || err != nil {
			return value, err
		}
	}
	block := uint64(le.Uint32(i.raw[0x68:])) | uint64(le.Uint16(i.raw[0x76:]))<<32
	if block == 0 {
		return "", nil
	}
	content := make([]byte, i.fs.blockSize)
	if err := i.fs.readAt(content, block, 0); err != nil {
		return "", fmt.Errorf("reading the attributes of inode %d: %w", i.Number, err)
	}
	if le.Uint32(content) != xattrMagic {
		return "", notRead("inode %d has no block of attributes where it should be", i.Number)
	}
	value, _, err := findXattr(content[xattrHeader:], content, attribute)
	return value, err
}

// findXattr looks through a list of entries, whose values lie at offsets in base.
func findXattr(list, base []byte, attribute string) (value string, found bool, err error) {
	for len(list) >= xattrEntry && le.Uint32(list) != 0 {
		nameLength := int(list[0])
		offset, inode, size := int(le.Uint16(list[2:])), le.Uint32(list[4:]), int(le.Uint32(list[8:]))
		next := (xattrEntry + nameLength + 3) &^ 3
		if xattrEntry+nameLength > len(list) {
			return "", false, notRead("an attribute with a name of %d bytes", nameLength)
		}
		if xattrPrefixes[list[1]]+string(list[xattrEntry:xattrEntry+nameLength]) == attribute {
			if inode != 0 || size < 0 || offset > len(base) || size > len(base)-offset {
				return "", false, notRead("an attribute of %d bytes at %d", size, offset)
			}
			return string(base[offset : offset+size]), true, nil
		}
		list = list[min(next, len(list)):]
	}
	return "", false, nil
}
