package collect

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strings"
	"syscall"

	"github.com/patchlab/patchlab/harness/fact"
)

// askAddresses returns the kernel's answer to a request for all addresses.
func askAddresses() ([]byte, error) {
	return syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC)
}

// interfaceName finds a network interface by its number.
func interfaceName(index int) string {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return "" // it has just gone
	}
	return link.Name
}

// addresses reads the network addresses but those that every machine gives itself: of the loopback, and of links.
func addresses(_ context.Context, src *Source) ([]fact.Fact, error) {
	if src.root != "/" || src.disk != nil {
		return nil, nil // the kernel tells of this machine only
	}
	answer, err := askAddresses()
	if err != nil {
		return nil, fmt.Errorf("reading addresses: %w", err)
	}
	found, err := parseAddresses(answer, interfaceName)
	if err != nil {
		return nil, fmt.Errorf("reading addresses: %w", err)
	}
	texts := networkFiles(src)
	facts := make([]fact.Fact, 0, len(found))
	for _, a := range found {
		facts = append(facts, a.fact(texts))
	}
	return facts, nil
}

type address struct {
	link    string
	prefix  netip.Prefix
	dynamic bool // it is lent for a time: by DHCP, or by a router
}

func (a address) fact(texts map[string]string) fact.Fact {
	attributes := map[string]string{}
	if a.dynamic {
		attributes["dynamic"] = "true"
	}
	if file := configuredIn(a.prefix.Addr().String(), texts); file != "" {
		attributes["configured"] = file
	}
	return fact.Fact{Kind: fact.KindAddress, Name: a.link + " " + a.prefix.String(), Attributes: attributes}
}

// What of rtnetlink(7) package syscall does not name.
const (
	lengthOfHeader = 8    // of struct ifaddrmsg: family, prefix length, flags, scope, index
	flagPermanent  = 0x80 // IFA_F_PERMANENT
)

func parseAddresses(answer []byte, name func(index int) string) ([]address, error) {
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return nil, err
	}
	var found []address
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < lengthOfHeader {
			continue
		}
		parts, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, err
		}
		ip, isLocal := netip.Addr{}, false
		for _, part := range parts { // the local one, where there is a peer
			if parsed, ok := netip.AddrFromSlice(part.Value); ok && (part.Attr.Type == syscall.IFA_LOCAL || part.Attr.Type == syscall.IFA_ADDRESS && !isLocal) {
				ip, isLocal = parsed, part.Attr.Type == syscall.IFA_LOCAL
			}
		}
		link := name(int(binary.NativeEndian.Uint32(m.Data[4:8])))
		if !ip.IsValid() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || link == "" {
			continue
		}
		found = append(found, address{link: link, prefix: netip.PrefixFrom(ip, int(m.Data[1])), dynamic: m.Data[2]&flagPermanent == 0})
	}
	return found, nil
}

// networkFiles reads the files in which an administrator writes down addresses.
func networkFiles(src *Source) map[string]string {
	texts := map[string]string{}
	files := []string{"/etc/network/interfaces"}
	for _, dir := range []string{
		"/etc/network/interfaces.d", "/etc/systemd/network", "/run/systemd/network", "/etc/netplan", "/etc/NetworkManager/system-connections",
	} {
		entries, err := src.readDir(dir)
		if err != nil {
			continue // there need be none
		}
		for _, entry := range entries {
			files = append(files, path.Join(dir, entry.Name()))
		}
	}
	for _, file := range files {
		if content, err := src.read(file, maxSmall); err == nil {
			texts[file] = string(content)
		}
	}
	return texts
}

// configuredIn names the first file in which an address stands as a word of its own.
func configuredIn(ip string, texts map[string]string) string {
	first := ""
	for file, text := range texts {
		words := strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF.:", r) })
		for _, word := range words {
			if strings.EqualFold(strings.Trim(word, "."), ip) && (first == "" || file < first) {
				first = file
			}
		}
	}
	return first
}
