package collect

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

// told is one address in the words of rtnetlink(7).
func told(index int, flags byte, prefix string, kinds ...uint16) []byte {
	network := netip.MustParsePrefix(prefix)
	bytes := network.Addr().AsSlice()
	data := []byte{byte(syscall.AF_INET), byte(network.Bits()), flags, 0, 0, 0, 0, 0}
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	for _, kind := range kinds {
		attribute := make([]byte, 4, 4+len(bytes))
		binary.NativeEndian.PutUint16(attribute, uint16(4+len(bytes)))
		binary.NativeEndian.PutUint16(attribute[2:], kind)
		data = append(data, append(attribute, bytes...)...)
	}
	message := make([]byte, syscall.NLMSG_HDRLEN, syscall.NLMSG_HDRLEN+len(data))
	binary.NativeEndian.PutUint32(message, uint32(syscall.NLMSG_HDRLEN+len(data)))
	binary.NativeEndian.PutUint16(message[4:], syscall.RTM_NEWADDR)
	return append(message, data...)
}

func TestAddressesAreThoseThatSomebodyGave(t *testing.T) {
	t.Parallel()
	var answer []byte
	for _, one := range [][]byte{
		told(1, flagPermanent, "127.0.0.1/8", syscall.IFA_ADDRESS, syscall.IFA_LOCAL),
		told(2, 0, "10.0.2.15/24", syscall.IFA_ADDRESS, syscall.IFA_LOCAL),
		told(2, flagPermanent, "192.0.2.10/24", syscall.IFA_ADDRESS, syscall.IFA_LOCAL),
		told(2, flagPermanent, "198.51.100.7/32", syscall.IFA_LOCAL),
		told(2, flagPermanent, "fe80::1/64", syscall.IFA_ADDRESS),
		told(2, flagPermanent, "2001:db8::5/64", syscall.IFA_ADDRESS),
		told(9, flagPermanent, "192.0.2.99/24", syscall.IFA_ADDRESS),
	} {
		answer = append(answer, one...)
	}
	found, err := parseAddresses(answer, func(index int) string { return map[int]string{1: "lo", 2: "ens3"}[index] })
	if err != nil {
		t.Fatal(err)
	}
	src := NewSource(tree(t, map[string]string{
		"/etc/network/interfaces":      "iface ens3 inet static\n  address 198.51.100.7/32\n  gateway 192.0.2.1\n",
		"/etc/netplan/50.yaml":         "addresses: [2001:DB8::5/64, 192.0.2.100/24]\n",
		"/etc/network/interfaces.d/30": "",
	}), nil, 0)
	var facts []fact.Fact
	for _, a := range found {
		facts = append(facts, a.fact(networkFiles(src)))
	}
	want := []fact.Fact{
		named("address", "ens3 10.0.2.15/24", "dynamic", "true"),
		named("address", "ens3 192.0.2.10/24"),
		named("address", "ens3 198.51.100.7/32", "configured", "/etc/network/interfaces"),
		named("address", "ens3 2001:db8::5/64", "configured", "/etc/netplan/50.yaml"),
	}
	if diff := cmp.Diff(want, facts); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestTheKernelsOwnAnswerIsUnderstood(t *testing.T) {
	t.Parallel()
	answer, err := askAddresses()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseAddresses(answer, interfaceName); err != nil {
		t.Error(err)
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add(told(2, flagPermanent, "192.0.2.10/24", syscall.IFA_ADDRESS, syscall.IFA_LOCAL))
	f.Fuzz(func(t *testing.T, answer []byte) {
		found, err := parseAddresses(answer, func(int) string { return "eth0" })
		for _, a := range found {
			if err != nil || !a.prefix.Addr().IsValid() {
				t.Errorf("no address: %v (%v)", a, err)
			}
		}
	})
}

func FuzzSysctlConf(f *testing.F) {
	f.Add([]byte("-a/b.c = 1\n*.x=2\n;\n=\n"))
	f.Fuzz(func(_ *testing.T, content []byte) { readSysctlConf(content, map[string]string{}) })
}
