package libvirt

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// Screenshot returns the domain's screen as PNG.
func (d *domain) Screenshot(ctx context.Context) ([]byte, error) {
	act := "taking a picture of domain " + d.handle.Name
	raw, err := call(ctx, d.driver, act, func(l *golibvirt.Libvirt) ([]byte, error) {
		var picture bytes.Buffer
		_, err := l.DomainScreenshot(d.handle, &picture, 0, 0)
		// The library takes the end of the stream for the reply and cannot decode it: the bytes tell.
		if picture.Len() > 0 {
			err = nil
		}
		return picture.Bytes(), err
	})
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(raw, []byte("\x89PNG")) {
		return raw, nil
	}
	picture, err := decodePPM(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return encoded.Bytes(), nil
}

// maxSide bounds the picture that a guest may choose by its video mode.
const maxSide = 8192

// decodePPM reads QEMU's format of pictures: "P6", width, height and 255, each followed by white space, then three bytes
// per pixel.
func decodePPM(raw []byte) (image.Image, error) {
	reader := bytes.NewReader(raw)
	var magic string
	var width, height, depth int
	if _, err := fmt.Fscan(reader, &magic, &width, &height, &depth); err != nil {
		return nil, fmt.Errorf("reading the head of a picture of %d bytes: %w", len(raw), err)
	}
	if magic != "P6" || depth != 255 || width < 1 || height < 1 || width > maxSide || height > maxSide {
		return nil, fmt.Errorf("unknown kind of picture: %s, %d x %d, depth %d", magic, width, height, depth)
	}
	if _, err := reader.ReadByte(); err != nil { // the one white space before the pixels
		return nil, fmt.Errorf("reading a picture: %w", err)
	}
	pixels := make([]byte, 3*width*height)
	if _, err := io.ReadFull(reader, pixels); err != nil {
		return nil, fmt.Errorf("reading a picture of %d x %d: %w", width, height, err)
	}
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		picture.SetRGBA(i%width, i/width, color.RGBA{R: pixels[3*i], G: pixels[3*i+1], B: pixels[3*i+2], A: 255})
	}
	return picture, nil
}
