package agentguest

import (
	"errors"
	"testing"
)

// FuzzAnswer gives every parser every answer. What they accept must be within their bounds, and what they refuse must be
// told as the guest's fault.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"return":{}}`, `{"return":{"pid":42}}`, `{"return":1000}`, `{"return":{"exited":false}}`,
		`{"return":{"exited":true,"exitcode":0,"out-data":"cGF0Y2hsYWIgMCAzIDAKb3V0"}}`,
		`{"return":{"exited":true,"signal":15,"err-data":"ZXJy"}}`, `{"return":{"count":3,"buf-b64":"YWJj","eof":true}}`,
		`{"return":{"supported_commands":[{"name":"guest-exec","enabled":true}]}}`, `{"error":{"class":"GenericError"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if pid, err := parsePID(answer); err == nil && pid < 1 {
			t.Errorf("process id %d", pid)
		} else {
			wantAnswerError(t, err)
		}
		if handle, err := parseHandle(answer); err == nil && handle < 0 {
			t.Errorf("handle %d", handle)
		} else {
			wantAnswerError(t, err)
		}
		const most = 16
		if content, end, err := parseRead(answer, most); err == nil && (len(content) > most || len(content) == 0 && !end) {
			t.Errorf("%d bytes, end %v", len(content), end)
		} else {
			wantAnswerError(t, err)
		}
		if err := checkInfo(answer); !errors.Is(err, ErrDisabled) {
			wantAnswerError(t, err)
		}
		wantAnswerError(t, checkWritten(answer, 3))
		s, err := parseStatus(answer)
		wantAnswerError(t, err)
		if s.code < 0 || s.code > 255 {
			t.Errorf("exit code %d", s.code)
		}
		o, err := parseOutcome(s, outputMost)
		wantAnswerError(t, err)
		if o.code < 0 || o.code > 255 || len(o.stdout)+len(o.stderr) > inlineMost {
			t.Errorf("outcome %+v", o)
		}
	})
}

func wantAnswerError(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrAnswer) {
		t.Errorf("the error is %v, want ErrAnswer", err)
	}
}
