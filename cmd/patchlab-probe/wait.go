package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// waitInterval is how often a port is looked at at whose other end is nobody. It costs the guest a wake-up.
const waitInterval = 50 * time.Millisecond

// waitAt answers what is asked through a port of the hypervisor, one question after the other, until it is ended. Each is a
// subcommand that is done in this process: where programs start slowly, that is what it saves.
func waitAt(ctx context.Context, arguments []string) error {
	flags := newFlags("wait")
	port := flags.String("port", protocol.WaitPort, "the port to wait at")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	file, err := os.OpenFile(*port, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("waiting for questions: %w", err)
	}
	defer file.Close() //nolint:errcheck // it is over
	return answerAll(ctx, file, run)
}

// doing does what a question asks, and returns the exit code.
type doing func(ctx context.Context, arguments []string, stdout, stderr io.Writer) (int, error)

// answerAll ends with ctx, or with an error other than that nobody is there.
func answerAll(ctx context.Context, port io.ReadWriter, do doing) error {
	questions := bufio.NewReaderSize(port, protocol.MaxQuestion)
	for ctx.Err() == nil {
		line, err := questions.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF): // nobody is there, or went in the middle of a question
			select {
			case <-ctx.Done():
			case <-time.After(waitInterval):
			}
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			continue // no question is as long
		case err != nil:
			return fmt.Errorf("waiting for questions: %w", err)
		}
		var question protocol.Question
		if json.Unmarshal(line, &question) != nil || len(question.Arguments) == 0 {
			continue // the rest of one that was cut off
		}
		if err := answer(ctx, port, question, do); err != nil {
			return err
		}
		// Nothing was collected meanwhile, see main.
		debug.FreeOSMemory()
	}
	return nil
}

func answer(ctx context.Context, port io.Writer, question protocol.Question, do doing) error {
	var stdout, stderr bytes.Buffer
	code, err := protocol.ExitUsage, errUsage
	if question.Arguments[0] != "wait" { // not within itself
		code, err = do(ctx, question.Arguments, &stdout, &stderr)
	}
	if err != nil {
		_, _ = fmt.Fprintln(&stderr, protocol.ErrorPrefix+protocol.Clean(err.Error()))
	}
	out := bufio.NewWriter(port)
	_, _ = io.WriteString(out, protocol.AnswerHeader(question.Nonce, code, stdout.Len(), stderr.Len()))
	_, _ = out.Write(stdout.Bytes())
	_, _ = out.Write(stderr.Bytes())
	if err := out.Flush(); err != nil { // holds the first error
		return fmt.Errorf("answering: %w", err)
	}
	return nil
}
