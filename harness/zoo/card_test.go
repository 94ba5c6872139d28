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
