package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// setClock sets the guest's clock, which stood still while the guest did. There is no way to take it back.
func setClock(arguments []string) error {
	flags := newFlags("clock")
	set := flags.Int64("set", 0, "the time, in nanoseconds since 1970")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if *set <= 0 {
		return fmt.Errorf("%w: clock --set wants the time", errUsage)
	}
	now := unix.NsecToTimespec(time.Unix(0, *set).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return errors.Join(errors.New("setting the clock"), err)
	}
	return nil
}
