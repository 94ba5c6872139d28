package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/wait"
)

// guestJob is a script that outlives the connection.
type guestJob struct {
	name   string // a word that no other job of the clone has
	script string
	bound  time.Duration // from one connection to the next
}

// runJob runs a job: after a cut it is followed further, never started twice. output is what it has said, also with an error.
func (r *run) runJob(ctx context.Context, c *clone, p *phase, job guestJob) (code int, output []byte, err error) {
	var log bytes.Buffer
	handedOver := false
	follow := func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, job.bound)
		defer cancel()
		if !handedOver {
			if err := c.conn.Put(ctx, probe.JobPath(job.name), 0o700, strings.NewReader(job.script)); err != nil {
				return fmt.Errorf("handing over a job: %w", err)
			}
			handedOver = true
		}
		code, err = probe.RunJob(ctx, c.conn, job.name, int64(log.Len()), &log)
		return err
	}
	const pause = time.Second // before a connection that was cut at once is tried again
	err = wait.Until(ctx, "job "+job.name, pause, func(ctx context.Context) (bool, error) {
		err := follow()
		if err == nil || !errors.Is(err, guest.ErrLost) || ctx.Err() != nil {
			return true, err
		}
		p.note("the connection was lost while a job runs in the guest; connecting again")
		return false, r.reconnect(ctx, c, p)
	})
	return code, log.Bytes(), err
}
