// Package timing holds every duration that patchlab waits for, in one struct that is scaled once.
package timing

import "time"

// Timeouts are upper bounds, written for a guest under KVM on an idle host and multiplied by the measured slowness of the
// accelerator ([Timeouts.Scaled]). Reaching one of them is a diagnosis, so they are generous.
type Timeouts struct {
	Boot     time.Duration // power on until ssh answers
	Settle   time.Duration // ssh answers until no jobs are queued
	Answer   time.Duration // come to rest, as another way into the guest says, until ssh answers
	Shutdown time.Duration // asked to reboot or power off until it did
	Apply    time.Duration // one increment
	Stage    time.Duration // fetching one increment's packages
	Probe    time.Duration // one set of facts
	Command  time.Duration // any other command in the guest
	Quiet    time.Duration // a boot has said that it goes no further, until that is believed
	Silence  time.Duration // the least that a stage of a boot may say nothing
	Helper   time.Duration // power on of a helper domain until it has opened a disk, or until it is off
	Driver   time.Duration // one call to the hypervisor
	Cleanup  time.Duration // teardown as a whole, on its own clock
}

// Default returns the bounds for KVM. A lean Debian boots in 10 to 30 s there; each bound is many times what was seen.
func Default() Timeouts {
	return Timeouts{
		Boot: 3 * time.Minute, Settle: time.Minute, Answer: 5 * time.Second, Shutdown: 2 * time.Minute,
		Apply: 15 * time.Minute, Stage: 10 * time.Minute,
		Probe: time.Minute, Command: time.Minute, Quiet: time.Second, Silence: 15 * time.Second,
		Helper: 30 * time.Second, Driver: time.Minute, Cleanup: 2 * time.Minute,
	}
}

// Scaled multiplies what depends on the guest's speed. Factors below 1 count as 1. Calls to the hypervisor and
// cleanup do not depend on the guest.
func (t Timeouts) Scaled(factor float64) Timeouts {
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) * max(1, factor)) }
	t.Boot, t.Settle, t.Answer, t.Shutdown = scale(t.Boot), scale(t.Settle), scale(t.Answer), scale(t.Shutdown)
	t.Apply, t.Stage = scale(t.Apply), scale(t.Stage)
	t.Probe, t.Command = scale(t.Probe), scale(t.Command)
	t.Helper = scale(t.Helper)
	t.Quiet, t.Silence = scale(t.Quiet), scale(t.Silence)
	return t
}
