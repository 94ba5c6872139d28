package zoo_test

import (
	"testing"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
	"github.com/patchlab/patchlab/harness/zoo"
)

func TestAttributionAndDiagnosisCountWhereTheTruthNamesThem(t *testing.T) {
	t.Parallel()
	loss := verdict.Finding{ID: "PL101", Severity: verdict.Error, Phase: "reboot", Increment: "b"}
	blame := report.Truth{Outcome: verdict.Regression, Findings: []string{"PL101"}, Increments: []string{"b"}, Phase: "reboot"}
	dead := report.Truth{Outcome: verdict.BootFailed, BootStage: "initramfs"}
	boot := func(stage string) report.Result {
		return report.Result{Outcome: verdict.BootFailed, Boots: []report.Boot{{Stage: "ready"}, {Stage: stage}}}
	}
	lost := func(guilty ...string) report.Result {
		return report.Result{Outcome: verdict.Regression, Findings: []verdict.Finding{loss}, Guilty: guilty}
	}
	card := zoo.NewCard([]zoo.Case{
		zoo.NewCase("right", blame, lost("b"), 1),
		zoo.NewCase("another is blamed", blame, lost("a", "b"), 2),
		zoo.NewCase("right stage", dead, boot("initramfs"), 4),
		zoo.NewCase("another stage", dead, boot("kernel"), 8),
		zoo.NewCase("never begun", dead, report.Result{}, 0),
	})
	if want := (zoo.Score{Count: 1, Of: 2}); card.Attribution != want || card.Diagnosis != want {
		t.Errorf("attribution %+v, diagnosis %+v", card.Attribution, card.Diagnosis)
	}
	if want := (zoo.Score{Count: 4, Of: 4}); card.Detection != want || card.Unjudged != 1 || card.Seconds != 15 || card.Holds() {
		t.Errorf("the card is %+v", card)
	}
}

func TestAWayBackCountsWhereTheTruthSaysThatThereIsOne(t *testing.T) {
	t.Parallel()
	kernel := report.Truth{Outcome: verdict.Pass, Fallback: "proven"}
	dead := report.Truth{Outcome: verdict.BootFailed, Rescue: "found"}
	card := zoo.NewCard([]zoo.Case{
		zoo.NewCase("fallback", kernel, report.Result{Outcome: verdict.Pass, Fallback: &report.Fallback{Proven: true}}, 1),
		zoo.NewCase("no fallback between", kernel, report.Result{
			Outcome: verdict.Pass, Fallback: &report.Fallback{Proven: true}, Fallbacks: []*report.Fallback{{Increment: "a"}},
		}, 1),
		zoo.NewCase("no fallback", kernel, report.Result{Outcome: verdict.Pass, Fallback: &report.Fallback{Why: "there is none"}}, 1),
		zoo.NewCase("not tried", kernel, report.Result{Outcome: verdict.Pass}, 1),
		zoo.NewCase("rescue", dead, report.Result{Outcome: verdict.BootFailed, Rescue: &report.Rescue{Found: true}}, 1),
		zoo.NewCase("no rescue", dead, report.Result{Outcome: verdict.BootFailed, Rescue: &report.Rescue{}}, 1),
		zoo.NewCase("nothing said", report.Truth{Outcome: verdict.BootFailed}, report.Result{Outcome: verdict.BootFailed}, 1),
	})
	if want := (zoo.Score{Count: 2, Of: 6}); card.WayBack != want {
		t.Errorf("ways back: %+v", card.WayBack)
	}
	if card.Holds() || !card.Cases[0].Truth.Holds || card.Cases[1].Truth.Holds || card.Cases[2].Truth.Holds || card.Cases[5].Truth.Holds {
		t.Errorf("the card is %+v", card)
	}
	if want := (zoo.Score{Count: 3, Of: 3}); card.Detection != want {
		t.Errorf("a way back counts as detection: %+v", card.Detection)
	}
}

func TestACardHoldsWhenEveryTruthDoes(t *testing.T) {
	t.Parallel()
	harmless := report.Truth{Outcome: verdict.Pass}
	if card := zoo.NewCard([]zoo.Case{zoo.NewCase("harmless", harmless, report.Result{Outcome: verdict.Pass}, 1)}); !card.Holds() {
		t.Errorf("%+v", card)
	}
	if card := zoo.NewCard([]zoo.Case{zoo.NewCase("harmless", harmless, report.Result{Outcome: verdict.Regression}, 1)}); card.Holds() {
		t.Errorf("%+v", card)
	}
}
