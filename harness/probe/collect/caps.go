package collect

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// capabilityNames are the kernel's, by their numbers.
var capabilityNames = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
	net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct
	sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
	mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)

// capabilities renders the extended attribute security.capability as getcap does: cap_net_raw=ep. What is not understood is
// rendered as it is, in hexadecimal digits: it must not pass for nothing.
func capabilities(value string) string {
	const header, set, revisionMask, effective = 4, 8, 0xff000000, 1
	if value == "" {
		return ""
	}
	raw := []byte(value)
	if len(raw) < header+set {
		return hex.EncodeToString(raw)
	}
	magic := binary.LittleEndian.Uint32(raw)
	var sets int
	switch magic & revisionMask {
	case 0x01000000:
		sets = 1
	case 0x02000000, 0x03000000: // the third has the root user of a name space after the sets
		sets = 2
	}
	if sets == 0 || len(raw) < header+sets*set {
		return hex.EncodeToString(raw)
	}
	var permitted, inheritable uint64
	for i := range sets {
		permitted |= uint64(binary.LittleEndian.Uint32(raw[header+i*set:])) << (32 * i)
		inheritable |= uint64(binary.LittleEndian.Uint32(raw[header+i*set+4:])) << (32 * i)
	}
	flag := ""
	if magic&effective != 0 {
		flag = "e"
	}
	text := strings.TrimSpace(capabilityList(permitted&^inheritable, flag+"p") + capabilityList(permitted&inheritable, flag+"ip") +
		capabilityList(inheritable&^permitted, flag+"i"))
	if text == "" {
		return "="
	}
	return text
}

func capabilityList(set uint64, flags string) string {
	var names []string
	for i := range 64 {
		if set&(1<<i) == 0 {
			continue
		}
		name := strconv.Itoa(i)
		if i < len(capabilityNames) {
			name = capabilityNames[i]
		}
		names = append(names, "cap_"+name)
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ",") + "=" + flags + " "
}
