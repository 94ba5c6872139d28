package systemd

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Start runs a command as a transient service: a child of systemd, which outlives the ssh session that asked for it. It
// returns an error if a unit of that name is loaded.
func (m *Manager) Start(ctx context.Context, unit, description string, argv []string) error {
	property := func(name string, value any) dbus.Property {
		return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
	}
	_, err := m.conn.StartTransientUnitContext(ctx, unit, "fail", []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropExecStart(argv, false),
		// What a patch starts by hand stays alive after the job, as it would after an administrator's shell.
		property("KillMode", "process"),
		// One child out of memory must not take the package manager down in the middle of its work.
		property("OOMPolicy", "continue"),
		property("CollectMode", "inactive-or-failed"),
		property("StandardInput", "null"),
		property("StandardOutput", "null"),
	}, nil)
	if err != nil {
		return fmt.Errorf("starting %s: %w", unit, err)
	}
	return nil
}
