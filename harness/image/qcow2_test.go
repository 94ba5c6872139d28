package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// qcow2 makes the header of a small qcow2 file, as QEMU 7.2 writes it but for what change does.
func qcow2(change func(header []byte)) []byte {
	header := make([]byte, 1<<16)
	copy(header, qcow2Magic)
	binary.BigEndian.PutUint32(header[4:], 3)
	binary.BigEndian.PutUint32(header[20:], 16)
	binary.BigEndian.PutUint64(header[24:], 1<<30)
	binary.BigEndian.PutUint32(header[100:], 112)
	if change != nil {
		change(header)
	}
	return header
}

// extension adds a header extension where the header ends.
func extension(header []byte, kind uint32, data string) {
	binary.BigEndian.PutUint32(header[112:], kind)
	binary.BigEndian.PutUint32(header[116:], uint32(len(data)))
	copy(header[120:], data)
}

func TestAQCOW2FileThatStandsAloneIsTaken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte){
		"version 3":         nil,
		"version 2":         func(h []byte) { binary.BigEndian.PutUint32(h[4:], 2); clear(h[72:112]) },
		"an extension":      func(h []byte) { extension(h, 0x6803f857, strings.Repeat("feature names", 20)) },
		"not closed tidily": func(h []byte) { h[79] = 1 },
	} {
		if err := checkHeader("x.qcow2", bytes.NewReader(qcow2(change))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotAWholeDiskIsRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"a backing file":       {qcow2(func(h []byte) { binary.BigEndian.PutUint64(h[8:], 512) }), "qemu-img convert -O qcow2 x.qcow2"},
		"data in another file": {qcow2(func(h []byte) { h[79] = incompatExternal }), "its data is in another file"},
		"the name of such a file": {
			qcow2(func(h []byte) { extension(h, extensionDataFile, "/etc/shadow") }), "its data is in another file",
		},
		"such a name behind another extension": {qcow2(func(h []byte) {
			extension(h, 0x6803f857, "12345678")
			binary.BigEndian.PutUint32(h[128:], extensionDataFile)
		}), "its data is in another file"},
		"the name in version 2": {qcow2(func(h []byte) {
			binary.BigEndian.PutUint32(h[4:], 2)
			binary.BigEndian.PutUint32(h[72:], extensionDataFile)
		}), "its data is in another file"},
		"encryption":            {qcow2(func(h []byte) { h[35] = 2 }), "encrypted"},
		"corrupt":               {qcow2(func(h []byte) { h[79] = incompatCorrupt }), "qemu-img check -r all"},
		"a bomb":                {qcow2(func(h []byte) { h[24] = 0x7f }), "4096 GiB is the most"},
		"huge clusters":         {qcow2(func(h []byte) { h[20] = 0xff }), "clusters"},
		"a header without end":  {qcow2(func(h []byte) { h[100] = 0xff }), "a header of"},
		"a version of tomorrow": {qcow2(func(h []byte) { h[7] = 4 }), "version 4"},
		"a cut off header":      {qcow2(nil)[:60], "cut off"},
		"a cut off extension":   {qcow2(nil)[:114], "cut off"},
		"nothing":               {nil, "no qcow2 file"},
		"a raw disk":            {make([]byte, 4096), "qemu-img convert -f raw -O qcow2 x.qcow2"},
		"a VMware disk":         {[]byte("KDMV\x01\x00\x00\x00"), "qemu-img convert -f vmdk"},
		"a VirtualBox disk":     {[]byte("<<< Oracle VM VirtualBox Disk Image >>>"), "qemu-img convert -f vdi"},
		"a Vagrant box":         {[]byte("\x1f\x8b\x08\x00"), "box.img"},
	} {
		err := checkHeader("x.qcow2", bytes.NewReader(test.content))
		if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want a refusal with %q", name, err, test.want)
		}
	}
}

func FuzzCheckHeader(f *testing.F) {
	f.Add(qcow2(nil)[:256])
	f.Add(qcow2(func(h []byte) { extension(h, extensionDataFile, "/etc/shadow") })[:256])
	f.Fuzz(func(t *testing.T, content []byte) {
		err := checkHeader("x", bytes.NewReader(content))
		if err == nil && (len(content) < qcow2HeaderV2 || !bytes.Equal(content[8:16], make([]byte, 8))) {
			t.Errorf("accepted: %x", content)
		}
	})
}
