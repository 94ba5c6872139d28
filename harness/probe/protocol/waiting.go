package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// WaitPort is where a waiting probe is asked: a serial port of the hypervisor's, by the name that the host gave it.
const WaitPort = "/dev/virtio-ports/" + WaitChannel

// WaitChannel is that name; package hypervisor has the same.
const WaitChannel = "org.patchlab.probe.0"

// WaitUnit is the unit of a probe that waits.
const WaitUnit = "patchlab-wait.service"

// SessionsDir has a file for each login that the guest's login manager knows of, see logind.
const SessionsDir = "/run/systemd/sessions"

// MaxQuestion bounds a question, in bytes.
const MaxQuestion = 4096

// Question is what a waiting probe is asked: a line of JSON.
type Question struct {
	// Nonce is repeated in the answer, so that nobody takes what was left of an earlier one for it.
	Nonce string `json:"nonce"`
	// Arguments are those of a subcommand.
	Arguments []string `json:"arguments"`
}

// AnswerHeader is the line before an answer: the exit code and the sizes of what was written to stdout and stderr, which follow.
func AnswerHeader(nonce string, exit, stdout, stderr int) string {
	return fmt.Sprintf("\npatchlab-answer %s %d %d %d\n", nonce, exit, stdout, stderr)
}

// ParseAnswerHeader tells whether a line (without its end) is the header of the answer to a question.
func ParseAnswerHeader(line, nonce string) (exit, stdout, stderr int, ok bool) {
	rest, found := strings.CutPrefix(line, "patchlab-answer "+nonce+" ")
	fields := strings.Fields(rest)
	if !found || len(fields) != 3 {
		return 0, 0, 0, false
	}
	var numbers [3]int
	for i, field := range fields {
		n, err := strconv.Atoi(field)
		if err != nil || n < 0 || n > MaxDocument {
			return 0, 0, 0, false
		}
		numbers[i] = n
	}
	return numbers[0], numbers[1], numbers[2], true
}
