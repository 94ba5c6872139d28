package drivertest

import "github.com/patchlab/patchlab/harness/hypervisor"

func reachesChannel(f fixture) {
	t := f.t
	domain := f.define(t, f.spec())
	dialer, ok := domain.(hypervisor.ChannelDialer)
	if !ok {
		t.Fatal("this driver's domains have no port for a program of ours")
	}
	if conn, err := dialer.DialChannel(t.Context()); err == nil {
		t.Errorf("a domain that is off has a port: %v", conn.Close())
	}
	if err := domain.Start(t.Context()); err != nil {
		t.Fatalf("starting: %v", err)
	}
	for range 3 { // one after the other
		conn, err := dialer.DialChannel(t.Context())
		if err != nil {
			t.Fatalf("reaching the port: %v", err)
		}
		if _, err := conn.Write([]byte("is anybody there?\n")); err != nil {
			t.Errorf("writing to the port: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}
