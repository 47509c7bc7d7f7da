"""Another host leads the root by now: what we still have alive is ended, nothing else is done, and we go.

Our database has no say any more, and neither have our verdicts: runs that were ours are the other host's, which may
have started them again already. Their files are left alone but for what the shims write.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from overnight.model.events import AttemptEnded, AttemptNeverBegan
from overnight.ports import Executor, RunRef
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders

log = logging.getLogger(__name__)

AFTER_GRACE_SECONDS = 120.0  # a shim that has not ended its tree by then never will: its slot's lock says so
_LOOK_SECONDS = 0.2


def step_down(
    ledger: Ledger, executors: Mapping[str, Executor], orders: Orders, wait: Callable[[float], object]
) -> list[RunRef]:
    """End every live attempt with its campaign's grace; those that would not end by then. `wait`: sleeps until
    something is heard, at most so many seconds."""
    live = {
        ref: run
        for ref, run in ledger.runs.items()
        if run.live_attempt is not None and ref.campaign in ledger.campaigns
    }
    longest = 0.0
    for ref, run in live.items():
        campaign = ledger.campaigns[ref.campaign]
        longest = max(longest, campaign.policy.limits.grace + campaign.policy.stop.timeout)
        try:
            target = orders.to_end(run, campaign, partial(ledger.spec, ref))
            executors[campaign.policy.executor].stop(target, campaign.policy.limits.grace)
        except Exception:
            log.exception("cannot end the attempt of %s/%s", ref.campaign, ref.run_id)
    log.warning("ending %d live attempts", len(live))
    until = time.monotonic() + longest + AFTER_GRACE_SECONDS
    while live and time.monotonic() < until:
        for executor in executors.values():
            for ref, event in executor.poll():
                if (
                    isinstance(event, AttemptEnded | AttemptNeverBegan)
                    and ref in live
                    and event.n == live[ref].attempts[-1].n
                ):
                    del live[ref]
        if live:
            wait(_LOOK_SECONDS)
    return sorted(live)
