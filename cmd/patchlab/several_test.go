package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// meeting is a harness whose runs wait for each other: it answers only when as many as expected are under way.
func meeting(t *testing.T, expected int, answer func(scenario string) (report.Result, error)) runner {
	t.Helper()
	var together sync.WaitGroup
	together.Add(expected)
	return func(ctx context.Context, request runRequest) (report.Result, error) {
		together.Done()
		met := make(chan struct{})
		go func() { together.Wait(); close(met) }()
		const patience = time.Minute // reached only on failure
		select {
		case <-met:
		case <-time.After(patience):
			return report.Result{}, errors.New("the other runs did not begin")
		}
		result, err := answer(request.Scenario.Name)
		result.Scenario, result.Schema = request.Scenario.Name, 1
		return result, errors.Join(err, ctx.Err())
	}
}

func TestJobsRunAtOnceAndDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	s.env.Run = meeting(t, 3, func(scenario string) (report.Result, error) {
		switch scenario {
		case "kernel":
			return report.Result{Outcome: verdict.Testbed, Run: "r"}, errors.New("no room")
		case "postgresql":
			return report.Result{Outcome: verdict.Regression, Run: "r"}, nil
		default:
			return report.Result{Outcome: verdict.Pass, Run: "r"}, nil
		}
	})
	code := s.run("run", "kernel", "postgresql", "openssl-nginx", "--jobs", "3", "--output", "json")
	if code != verdict.Regression.ExitCode() {
		t.Errorf("exit code is %d", code)
	}
	var got []string
	for line := range strings.Lines(s.stdout.String()) {
		var result report.Result
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, result.Scenario+" "+string(result.Outcome))
	}
	slices.Sort(got) // each as it ends
	if want := []string{"kernel testbed", "openssl-nginx pass", "postgresql regression"}; !slices.Equal(got, want) {
		t.Errorf("results are %q, want %q", got, want)
	}
	if !strings.Contains(s.stderr.String(), "kernel: no room") {
		t.Errorf("nobody is told why one failed: %q", s.stderr.String())
	}
}

func TestAPersonReadsResultsInTheirOrder(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	s.env.Run = meeting(t, 2, func(string) (report.Result, error) { return report.Result{Outcome: verdict.Pass, Run: "r"}, nil })
	if code := s.run("run", "kernel", "postgresql", "--jobs", "2"); code != 0 {
		t.Errorf("exit code is %d: %s", code, s.stderr.String())
	}
	first, second := strings.Index(s.stdout.String(), "kernel is safe"), strings.Index(s.stdout.String(), "postgresql is safe")
	if first < 0 || second < first {
		t.Errorf("printed:\n%s", s.stdout.String())
	}
}

func TestJobsAreANumberOrAuto(t *testing.T) {
	t.Parallel()
	if jobs, err := parseJobs("auto"); err != nil || jobs < 1 {
		t.Errorf("auto is %d, %v", jobs, err)
	}
	for _, bad := range []string{"0", "-1", "many", ""} {
		s := newSession(t, passing())
		if code := s.run("run", "kernel", "postgresql", "--jobs", bad); code != verdict.ExitUsage || len(s.requests) > 0 {
			t.Errorf("--jobs %q exits with %d after %d runs", bad, code, len(s.requests))
		}
	}
}

func TestWhatWasStoppedBeforeItBeganIsNotRun(t *testing.T) {
	t.Parallel()
	s := newSession(t, passing())
	ctx, cancel := context.WithCancelCause(t.Context())
	var mu sync.Mutex
	var ran []string
	s.env.Run = func(ctx context.Context, request runRequest) (report.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, request.Scenario.Name)
		cancel(errors.New("Ctrl-C"))
		<-ctx.Done()
		return report.Result{Schema: 1, Run: "r", Outcome: verdict.Interrupted}, nil
	}
	code := execute(ctx, s.env, []string{"run", "kernel", "postgresql", "openssl-nginx", "everything-pending", "--jobs", "2"})
	if code != verdict.Interrupted.ExitCode() || len(ran) > 2 {
		t.Errorf("exit code %d, ran %q", code, ran)
	}
}
