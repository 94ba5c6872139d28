package agentguest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ErrAnswer is wrapped by errors about an answer that no guest agent gives: too big, malformed or contradictory. The guest is
// at fault, or somebody in it plays the agent.
var ErrAnswer = errors.New("the answer is not the guest agent's")

const (
	// chunk is how much of a file passes in one command, in bytes: an emulated guest's agent took 0.6 s for as much as that
	// (on a host with other things to do), and more than the hypervisor waits for eight times as much.
	chunk = 32 << 10
	// maxAnswer bounds an answer: a chunk in base64, and generously what stands around it.
	maxAnswer = (chunk+inlineMost)*4/3 + 64<<10
	// maxHandle bounds what is believed of a handle or process id; the agent counts handles up from 1000.
	maxHandle = 1 << 53
)

// decode takes the value out of an answer.
func decode(answer []byte, into any) error {
	if len(answer) > maxAnswer {
		return fmt.Errorf("%w: %d bytes", ErrAnswer, len(answer))
	}
	var envelope struct {
		Return json.RawMessage `json:"return"`
	}
	if err := json.Unmarshal(answer, &envelope); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, sanitised{err})
	}
	if len(envelope.Return) == 0 || bytes.Equal(envelope.Return, []byte("null")) {
		return fmt.Errorf("%w: it returns nothing", ErrAnswer)
	}
	if err := json.Unmarshal(envelope.Return, into); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, sanitised{err})
	}
	return nil
}

// ErrDisabled means that the guest's agent is configured not to run commands.
var ErrDisabled = errors.New("the guest's agent is configured not to run commands or not to open files")

func checkInfo(answer []byte) error {
	var info struct {
		Commands []struct {
			Name    string `json:"name"`
			Enabled bool   `json:"enabled"`
		} `json:"supported_commands"`
	}
	if err := decode(answer, &info); err != nil {
		return err
	}
	needed := map[string]bool{
		"guest-exec": false, "guest-exec-status": false, "guest-file-open": false, "guest-file-read": false,
		"guest-file-write": false, "guest-file-close": false,
	}
	for _, c := range info.Commands {
		if _, ok := needed[c.Name]; ok && c.Enabled {
			needed[c.Name] = true
		}
	}
	for _, enabled := range needed {
		if !enabled {
			return ErrDisabled
		}
	}
	return nil
}

func parsePID(answer []byte) (int, error) {
	var started struct {
		PID int64 `json:"pid"`
	}
	if err := decode(answer, &started); err != nil {
		return 0, err
	}
	if started.PID < 1 || started.PID > maxHandle {
		return 0, fmt.Errorf("%w: process id %d", ErrAnswer, started.PID)
	}
	return int(started.PID), nil
}

// status is what the agent tells of a program.
type status struct {
	exited bool
	code   int // as a shell has it: 128 + the signal's number for a program that a signal ended
	stdout []byte
	stderr []byte
}

func parseStatus(answer []byte) (status, error) {
	var told struct {
		Exited   bool   `json:"exited"`
		ExitCode *int   `json:"exitcode"`
		Signal   *int   `json:"signal"`
		Out      []byte `json:"out-data"`
		Err      []byte `json:"err-data"`
		OutCut   bool   `json:"out-truncated"`
		ErrCut   bool   `json:"err-truncated"`
	}
	if err := decode(answer, &told); err != nil {
		return status{}, err
	}
	s := status{exited: told.Exited, stdout: told.Out, stderr: told.Err}
	const lastSignal, lastCode = 64, 255
	switch {
	case !told.Exited:
		return status{}, nil
	case told.OutCut || told.ErrCut:
		return status{}, fmt.Errorf("%w: it lost a part of an output", ErrAnswer)
	case told.Signal != nil && *told.Signal > 0 && *told.Signal <= lastSignal:
		s.code = 128 + *told.Signal
	case told.Signal == nil && told.ExitCode != nil && *told.ExitCode >= 0 && *told.ExitCode <= lastCode:
		s.code = *told.ExitCode
	default:
		return status{}, fmt.Errorf("%w: a program ended with neither an exit code nor a signal", ErrAnswer)
	}
	return s, nil
}

func parseHandle(answer []byte) (int64, error) {
	var handle int64
	if err := decode(answer, &handle); err != nil {
		return 0, err
	}
	if handle < 0 || handle > maxHandle {
		return 0, fmt.Errorf("%w: file handle %d", ErrAnswer, handle)
	}
	return handle, nil
}

func parseRead(answer []byte, most int) (content []byte, end bool, err error) {
	var read struct {
		Count int    `json:"count"`
		Data  []byte `json:"buf-b64"`
		EOF   bool   `json:"eof"`
	}
	if err := decode(answer, &read); err != nil {
		return nil, false, err
	}
	if read.Count != len(read.Data) || read.Count > most || read.Count == 0 && !read.EOF {
		return nil, false, fmt.Errorf("%w: it read %d bytes of at most %d and sends %d", ErrAnswer, read.Count, most, len(read.Data))
	}
	return read.Data, read.EOF, nil
}

func checkWritten(answer []byte, want int) error {
	var written struct {
		Count int `json:"count"`
	}
	if err := decode(answer, &written); err != nil {
		return err
	}
	if written.Count != want { // a disk that is full is refused in words; the agent never writes less without them
		return fmt.Errorf("%w: it wrote %d bytes of %d", ErrAnswer, written.Count, want)
	}
	return nil
}

// outcome is what the script around a command tells in its first line, and the outputs when they are short.
type outcome struct {
	code           int
	stdout, stderr []byte
	// outSize and errSize are the outputs' lengths in the guest, at most one more than was to be kept.
	outSize, errSize int64
	kept             bool // the outputs are still in the guest's files
}

// parseOutcome reads "patchlab EXIT-CODE OUT-SIZE ERR-SIZE" and what follows.
func parseOutcome(s status, most int64) (outcome, error) {
	head, rest, found := bytes.Cut(s.stdout, []byte("\n"))
	words := bytes.Fields(head)
	if !found || len(words) != 4 || string(words[0]) != mark {
		return outcome{}, fmt.Errorf("%w: it does not say how the command ended", ErrAnswer)
	}
	var numbers [3]int64
	for i, word := range words[1:] {
		n, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil || n < 0 {
			return outcome{}, fmt.Errorf("%w: it does not say how the command ended", ErrAnswer)
		}
		numbers[i] = n
	}
	o := outcome{code: int(numbers[0]), outSize: numbers[1], errSize: numbers[2]}
	if numbers[0] > 255 || o.outSize > most+1 || o.errSize > most+1 {
		return outcome{}, fmt.Errorf("%w: exit code %d, outputs of %d and %d bytes", ErrAnswer, o.code, o.outSize, o.errSize)
	}
	if o.kept = o.outSize+o.errSize > inlineMost; o.kept {
		return o, nil
	}
	if int64(len(rest)) != o.outSize || int64(len(s.stderr)) != o.errSize {
		return outcome{}, fmt.Errorf("%w: outputs of %d and %d bytes instead of %d and %d", ErrAnswer, len(rest), len(s.stderr),
			o.outSize, o.errSize)
	}
	o.stdout, o.stderr = rest, s.stderr
	return o, nil
}
