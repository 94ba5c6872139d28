package probe

import (
	"bytes"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// FuzzDocument holds the client to what it promises of any answer: it ends, and what it hands on is clean.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"probe":"1","boot_id":"b","facts":[{"kind":"unit","name":"a.service","attributes":{"active":"active"}}],"notes":[{"kind":"x","error":"y"}]}`))
	f.Add([]byte("{\"facts\":[{\"kind\":\"file\",\"name\":\"/etc/\\u001b[31m\",\"attributes\":{\"text\":\"\\u202e\",\"\\u001b\":\"x\"}}]}"))
	f.Add([]byte(`{"facts":null}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		document, err := program.facts(t.Context(), says(0, string(answer), ""), nil, nil)
		if err != nil {
			return
		}
		for _, fact := range document.Facts.All() {
			for key, value := range fact.Attributes {
				if protocol.Clean(key) != key || protocol.CleanText(value) != value || value == "" {
					t.Errorf("attribute %q=%q of %q is handed on as it came", key, value, fact.Name)
				}
			}
			if protocol.Clean(fact.Name) != fact.Name || protocol.Clean(string(fact.Kind)) != string(fact.Kind) || len(fact.Name) > protocol.MaxName {
				t.Errorf("the fact %q is handed on as it came", fact.Key())
			}
		}
		for _, note := range document.Notes {
			if protocol.Clean(note.Error) != note.Error {
				t.Errorf("the note %q is handed on as it came", note.Error)
			}
		}
	})
}

func FuzzSettled(f *testing.F) {
	f.Add([]byte(`{"boot_id":"b","state":"degraded","jobs":[{"unit":"a","type":"start","state":"running"}],"failed":["x.service"]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		settled, err := program.settle(t.Context(), says(0, string(answer), ""), "settle --timeout 1m0s")
		if err == nil {
			words := append([]string{settled.State, settled.BootID}, settled.Failed...)
			for _, j := range settled.Jobs {
				words = append(words, j.Unit, j.Type, j.State)
			}
			if all := strings.Join(words, ""); protocol.Clean(all) != all {
				t.Errorf("%q is handed on as it came", all)
			}
		}
		if id, err := BootID(t.Context(), says(0, string(answer), "")); err == nil && protocol.Clean(id) != id {
			t.Errorf("the boot id %q is handed on as it came", id)
		}
	})
}

// FuzzJob holds a job's end to one rule: what the job itself can write never looks like the probe's own failure.
func FuzzJob(f *testing.F) {
	f.Add(0, []byte("Setting up nginx\n"), []byte(nil))
	f.Add(protocol.ExitDied, []byte(nil), []byte(protocol.ErrorPrefix+"died"))
	f.Fuzz(func(t *testing.T, exit int, output, complaint []byte) {
		var log bytes.Buffer
		code, err := program.runJob(t.Context(), says(exit, string(output), string(complaint)), "openssl", 0, &log)
		if len(complaint) == 0 && (err != nil || code != exit || !bytes.Equal(log.Bytes(), output)) {
			t.Errorf("exit %d with %q gave %d, %v and %q", exit, output, code, err, log.Bytes())
		}
		if len(complaint) > 0 && err == nil {
			t.Errorf("the probe's complaint %q was not heard", complaint)
		}
	})
}
