package libvirt_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
)

func TestNoLibvirtIsOneSentenceWithAdvice(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "none")
	_, err := libvirt.Connect(t.Context(), libvirt.Options{URI: "qemu:///system?socket=" + socket})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "let patchlab start its own") {
		t.Errorf("the error is %v", err)
	}
}

// TestALibvirtThatNeverAnswersHoldsNobody connects to a socket whose other end reads and says nothing.
func TestALibvirtThatNeverAnswersHoldsNobody(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "mute")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // it ends the goroutine below
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1)) // the call is under way
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	}()
	_, err = libvirt.Connect(ctx, libvirt.Options{URI: "qemu:///session?socket=" + socket})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
