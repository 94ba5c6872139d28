package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/scenario"
)

const vacationLong = `Before a holiday: will it all start again after a power cut while nobody is there? A clone of the image is rebooted
and its power is cut, without any patch, and what does not come back is listed: services, ports, mounts, and all else that
` + "`patchlab run`" + ` compares. After the power cut a file that was flushed to the disk must be there, and one that was written just before it
must be gone. With --reboot panic the kernel panics, and the machine has to reset itself.

--against names a file of facts of the machine itself, as ` + "`patchlab facts USER@HOST --output json`" + ` writes it: what runs there or is
set there, and no boot brings to the image, is listed too: daemons that were started by hand, values of ` + "`sysctl -w`" + `, addresses,
mounts, and sessions of screen and tmux.`

const vacationExample = `  patchlab vacation --image debian-12-web
  patchlab vacation --image debian-12-web --reboot power-cut,panic --output json
  patchlab facts root@web1 --output json >web1.json
  patchlab vacation --image debian-12-web --against web1.json`

// defaultVacation is what a machine has to survive while nobody is there.
const defaultVacation = string(scenario.RebootClean) + "," + string(scenario.RebootPowerCut)

type vacationOptions struct {
	image, reboot, against string
	keep, cold             bool
}

func newVacationCommand(env *environment) *cobra.Command {
	var options vacationOptions
	cmd := &cobra.Command{
		Use:     "vacation --image IMAGE",
		Short:   "Reboot and cut the power without any patch, and list what does not come back",
		Long:    vacationLong,
		Example: vacationExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return vacation(cmd.Context(), env, options) },
	}
	flags := cmd.Flags()
	flags.StringVar(&options.image, "image", "", "the `IMAGE` to clone")
	flags.StringVar(&options.reboot, "reboot", defaultVacation, "what happens to the clone: `MODE,...` of clean, power-cut, panic, in this order")
	flags.StringVar(&options.against, "against", "", "a `FILE` of facts of the machine itself: list what it has that no boot brings back")
	flags.BoolVar(&options.keep, "keep", false, "leave the clone running in the end, for patchlab shell RUN; patchlab gc --kept ends it")
	flags.BoolVar(&options.cold, "cold", false, "boot the clone, instead of letting it go on from a saved guest")
	completeImage(env, cmd)
	complete(cmd, "reboot", scenario.RebootModes()...)
	return cmd
}

func vacation(ctx context.Context, env *environment, options vacationOptions) error {
	s, live, err := options.prepare(env)
	if err != nil {
		return usage(err)
	}
	endSuites, err := readySuites(ctx, env, []scenario.Scenario{s})
	defer endSuites()
	if err != nil {
		return usage(err)
	}
	runner, done := env.runner()
	sink, endOfProgress := env.sink()
	result, err := runner(ctx, runRequest{Scenario: s, Keep: options.keep, Cold: options.cold, Sink: sink, Vacation: true, Live: live})
	endOfProgress()
	code := tell(ctx, env, s, ended{result: result, err: err, ran: true}, runOptions{keep: options.keep}, false)
	if err := done(); err != nil {
		env.notice("closing the hypervisor: " + err.Error())
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// prepare checks the flags, and returns what they ask for.
func (o vacationOptions) prepare(env *environment) (scenario.Scenario, fact.Set, error) {
	if o.image == "" {
		return scenario.Scenario{}, fact.Set{}, errors.New("--image is missing: `patchlab image list` shows what there is")
	}
	modes, err := rebootModes(o.reboot)
	if err == nil && len(modes) == 0 {
		err = fmt.Errorf("--reboot: there is nothing to do: want some of %s", strings.Join(scenario.RebootModes(), ", "))
	}
	if err := errors.Join(err, checkImage(env, o.image)); err != nil {
		return scenario.Scenario{}, fact.Set{}, err
	}
	live := snapshot{}
	if o.against != "" {
		if live, err = readFacts(o.against); err != nil {
			return scenario.Scenario{}, fact.Set{}, err
		}
	}
	source := fmt.Sprintf("# no scenario: patchlab vacation --image %s --reboot %s\n", o.image, o.reboot)
	return scenario.Scenario{
		Schema: scenario.Schema, Name: "vacation", Image: o.image, Reboot: modes, Restart: scenario.RestartAdvised, Suites: scenario.Suites(),
		Source: []byte(source),
	}, live.Facts, nil
}
