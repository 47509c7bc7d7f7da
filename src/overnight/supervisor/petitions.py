"""Requests of clients, taken into the ledger. Each answer is committed with its consequences."""

import logging
from collections.abc import Callable

from overnight.core import causes, deadline, scouts
from overnight.model import requests as r
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import (
    CancelRequested,
    LimitsAmended,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
)
from overnight.model.manifest import Refusal
from overnight.model.states import ENDED, OVER, CampaignState, RunState
from overnight.model.time import Moment
from overnight.ports import RunRef, StoreError
from overnight.supervisor.deadlines import with_deadline
from overnight.supervisor.launches import Launches, LaunchFiles, counted
from overnight.supervisor.ledger import SWEPT_PER_TURN, BrokenInvariant, Ledger
from overnight.supervisor.revisions import Revisions
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

ASKED_TO_GO = "asked to go"  # in the store's words: by whom, if the last supervisor was
_NAMED = 20  # runs that an answer names
_DROPPED: dict[RunState | None, str] = {
    RunState.RUNNING: "dropped, being ended", RunState.VERIFYING: "dropped, unless it has just succeeded"
}  # fmt: skip


class Petitions:
    """Carries out requests. `code_known` tells the planner that a client has just looked at the code."""

    def __init__(
        self, ledger: Ledger, workers: Workers, files: LaunchFiles, revisions: Revisions,
        code_known: Callable[[str, Moment], None],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._files = files
        self._revisions = revisions
        self._code_known = code_known
        self._launches = Launches(ledger, workers, files, revisions, code_known)
        self.stop_wanted = False

    def take(self, request: r.Request, now: Moment, written: Done | None = None) -> bool:
        """One request. A second copy of one that was answered is ignored. False: not yet, for it is a launch whose
        files are being written; it comes again with what became of that (`written`)."""
        try:
            if request.id in self._ledger.batch.answers or self._ledger.store.answer(request.id) is not None:
                return True
            answer = self._answer(request, now, written)
            if answer is None:
                return False
        except Refusal as refusal:
            answer = r.Answer(False, refusal.message, refusal.hint)
        except OSError as problem:
            answer = r.Answer(False, f"cannot write the campaign's files: {problem}", "free space, then try again")
        except (BrokenInvariant, StoreError):
            raise
        except Exception as problem:  # unanswered it would come again with every turn, and end each supervisor
            log.exception("request %s", request.id)
            words = f"Overnight failed with this request: {type(problem).__name__}: {problem}"
            answer = r.Answer(False, words, "see with status what was changed; supervisor.log says more")
        self._ledger.batch.answers[request.id] = answer
        self._ledger.batch.durable = True
        return True

    def _answer(self, request: r.Request, now: Moment, written: Done | None) -> r.Answer | None:
        match request:
            case r.Launch():
                return self._launches.take(request, now, written)
            case r.Retry():
                return self._retry(request, now)
            case r.Amend():
                return self._amend(request, now)
            case r.Pause():
                return self._pause(request, now)
            case r.Resume():
                return self._resume(request, now)
            case r.Cancel():
                return self._cancel(request, now)
            case r.StopSupervisor():
                self.stop_wanted = True
                self._ledger.batch.meta[ASKED_TO_GO] = request.by
                return r.Answer(True, "the supervisor stops; runs go on, bounded by their shims")

    def _campaign(self, name: str) -> Campaign:
        campaign = self._ledger.campaigns.get(name)
        if campaign is None:
            raise Refusal(f"no campaign {name} here")
        return campaign

    def _refs(self, campaign: str, run_ids: tuple[str, ...]) -> list[RunRef]:
        unknown = [run_id for run_id in run_ids if self._ledger.get(RunRef(campaign, run_id)) is None]
        if unknown:
            raise Refusal(f"{campaign} has no run {', '.join(unknown)}", f"overnight status {campaign}")
        return [RunRef(campaign, run_id) for run_id in run_ids]

    def _matching(self, campaign: str, states: tuple[RunState, ...], failure_class: str | None) -> list[RunRef]:
        refs = []
        names = [state.value for state in states]
        for position in self._ledger.store.positions(campaign, states=names, failure_class=failure_class):
            run = self._ledger.store.run_at(campaign, position)
            if run is not None:
                refs.append(RunRef(campaign, run.run_id))
        return refs

    def _shell_anew(self, campaign: Campaign, request: r.Retry | r.Resume, why: str, now: Moment) -> Campaign:
        """The environment of the shell that typed; a revision if the code is another by now."""
        shell, code = request.shell, request.code
        self._files.write_launch_env(campaign.id, shell.env)
        campaign = replace(_tonight(campaign, shell, now), umask=shell.umask, rlimits=shell.rlimits)
        if code.digest is not None and code.digest != campaign.code:
            campaign = self._revisions.make(campaign, request.by, why, code, now, patch=request.patch)
            words = f"the code changed: attempts from now on run revision {campaign.revision}"
            self._ledger.say(campaign.id, "", now, words)
        self._code_known(campaign.id, now)
        self._ledger.put(campaign)
        return campaign

    def _retry(self, request: r.Retry, now: Moment) -> r.Answer:
        campaign = self._campaign(request.campaign)
        if request.run_ids:
            refs = self._refs(campaign.id, request.run_ids)
            busy = [
                ref.run_id for ref in refs
                if (run := self._ledger.get(ref)) is not None and run.state not in ENDED and not run.held_by
            ]  # fmt: skip
            if busy:
                raise Refusal(f"{', '.join(busy)}: not ended, so there is nothing to retry",
                              f"overnight why {campaign.id} {busy[0]}")  # fmt: skip
        else:
            states = (RunState.FAILED,) if request.failure_class else (RunState.FAILED, RunState.CANCELLED)
            refs = self._matching(campaign.id, states, request.failure_class)
            held = self._of(campaign.id, RunState.HELD)
            refs += [ref for ref in held if self._in_common(ref, request.failure_class)]
        if not refs:
            what = f"failed with {request.failure_class}" if request.failure_class else "failed or was cancelled"
            raise Refusal(f"no run of {campaign.id} {what}", f"overnight status {campaign.id}")
        self._shell_anew(campaign, request, "retry", now)
        self._let_go(campaign.id, f"{request.by} asked for another try", now, causes_too=False)
        for ref in refs:
            self._ledger.apply(ref, RetryRequested(now, request.by, request.scratch))
        campaign = self._ledger.campaigns[campaign.id]
        self._ledger.put(replace(campaign, cancelling="", ended=None))
        return r.Answer(True, f"to be tried again: {counted(len(refs), 'run')}", campaign=campaign.id,
                        details=tuple(ref.run_id for ref in refs[:1000]))  # fmt: skip

    def _in_common(self, ref: RunRef, failure_class: str | None) -> bool:
        run = self._ledger.get(ref)
        return run is not None and bool(run.held_by) and failure_class in (None, run.cause)

    def _let_go(self, campaign_id: str, why: str, now: Moment, *, causes_too: bool) -> None:
        """No more scouts; with `causes_too` no shared cause holds a run any longer. What hit it may hit it again."""
        before = self._ledger.campaigns[campaign_id]
        campaign, words = scouts.let_go(before, why)
        if causes_too:
            campaign = causes.let_go_of(campaign, None, why, now)
        if campaign is not before:
            self._ledger.put(campaign)
        if words is not None:
            self._ledger.say(campaign_id, "", now, words)

    def _amend(self, request: r.Amend, now: Moment) -> r.Answer:
        ledger = self._ledger
        campaign = before = self._campaign(request.campaign)
        dropped = self._refs(campaign.id, request.dropped)
        self._refs(campaign.id, tuple(spec.run_id for spec in request.changed))
        clash = [s.run_id for s in request.added if ledger.store.spec(RunRef(campaign.id, s.run_id)) is not None]
        if clash:
            raise Refusal(f"{campaign.id} has these runs already: {', '.join(clash[:5])}", "new rows need new run_ids")
        moved = request.policy is not None and request.policy.limits.deadline != campaign.policy.limits.deadline
        if request.policy is not None:
            campaign = replace(campaign, policy=request.policy)
        if moved:
            campaign = with_deadline(campaign, {} if request.shell is None else request.shell.env, now)
        if request.shell is not None:
            self._files.write_launch_env(campaign.id, request.shell.env)
            campaign = replace(campaign, umask=request.shell.umask, rlimits=request.shell.rlimits)
        campaign = self._revisions.make(
            campaign, request.by, request.why or "amend", request.code, now, added=request.added,
            changed=request.changed, dropped=request.dropped, patch=request.patch,
        )  # fmt: skip
        said = "; ".join(words for words in (request.why, request.words) if words)
        ledger.say(campaign.id, "", now, f"{request.by} made revision {campaign.revision}{said and ': '}{said}")
        self._code_known(campaign.id, now)
        campaign, let_go = scouts.let_go(campaign, f"revision {campaign.revision}")
        if request.shell is not None:
            why = f"revision {campaign.revision} changed the environment"
            campaign = causes.let_go_of(campaign, causes.BY_ENVIRONMENT, why, now)
        if request.code.digest is not None and request.code.digest != before.code:
            campaign = causes.let_go_of(campaign, causes.BY_CODE, "the code changed", now)
        if let_go is not None:
            ledger.say(campaign.id, "", now, let_go)
        if request.added:
            campaign = ledger.add_runs(replace(campaign, cancelling="", ended=None), request.added)
        ledger.put(campaign)
        ledger.change_rows(campaign.id, {spec.run_id: spec.policy for spec in request.changed}, now)
        details = self._drop(dropped, request.by, f"dropped by revision {campaign.revision}", now)
        if request.policy is not None:
            for ref, run in list(ledger.runs.items()):
                if ref.campaign == campaign.id and run.state == RunState.RUNNING:
                    ledger.apply(ref, LimitsAmended(now, campaign.revision))
                elif moved and ref.campaign == campaign.id and run.cause == deadline.CAUSE:
                    ledger.apply(ref, ResumeRequested(now, request.by))
        return r.Answer(True, f"revision {campaign.revision}", campaign=campaign.id, details=details)

    def _drop(self, dropped: list[RunRef], by: str, why: str, now: Moment) -> tuple[str, ...]:
        """Cancels those that have not ended; a line for each kind of what became of them."""
        kinds: dict[str, list[str]] = {}
        for ref in dropped:
            state = self._state(ref)
            kind = "ended before, and left as it is" if state in ENDED else _DROPPED.get(state, "dropped")
            kinds.setdefault(kind, []).append(ref.run_id)
            self._ledger.apply(ref, CancelRequested(now, by, why))
        return tuple(f"{kind}: {_named(names)}" for kind, names in kinds.items())

    def _pause(self, request: r.Pause, now: Moment) -> r.Answer:
        campaign = self._campaign(request.campaign)
        if campaign.state in OVER:
            raise Refusal(f"{campaign.id} is {campaign.state.value}; there is nothing to pause")
        self._ledger.put(replace(campaign, paused=True, paused_why=f"{request.by} paused it"))
        at_work = self._of(campaign.id, RunState.RUNNING, RunState.HELD)
        live = [ref for ref in at_work if self._ledger.runs[ref].live_attempt is not None]
        if request.now:
            for ref in live:
                self._ledger.apply(ref, PauseRequested(now, request.by))
            return r.Answer(True, f"paused; being ended: {counted(len(live), 'live attempt')}", campaign=campaign.id)
        return r.Answer(True, f"paused; going on: {counted(len(live), 'live attempt')}", campaign=campaign.id)

    def _of(self, campaign: str, *states: RunState) -> list[RunRef]:
        return [ref for ref, run in self._ledger.runs.items() if ref.campaign == campaign and run.state in states]

    def _resume(self, request: r.Resume, now: Moment) -> r.Answer:
        campaign = self._campaign(request.campaign)
        held = self._of(campaign.id, RunState.HELD)
        refs = self._refs(campaign.id, request.run_ids) or held
        was = campaign.paused
        too_short = deadline.too_short(_tonight(campaign, request.shell, now), now)
        if too_short and not was and refs and all(self._cause(ref) == deadline.CAUSE for ref in refs):
            raise Refusal(f"nothing of it can start: {too_short}",
                          f"overnight amend {campaign.id} --set limits.deadline=…, or resume after it")  # fmt: skip
        if request.devices is not None:
            campaign = replace(campaign, devices=request.devices)
        self._shell_anew(campaign, request, "resume", now)
        campaign = self._ledger.campaigns[campaign.id]
        self._ledger.put(replace(campaign, paused=False, paused_why=""))
        if not request.run_ids:
            self._let_go(campaign.id, f"{request.by} let them go on", now, causes_too=True)
        for ref in refs:  # what a cause in common holds is swept, some each turn
            if request.run_ids or not self._in_common(ref, None):
                self._ledger.apply(ref, ResumeRequested(now, request.by))
        words = [f"going on: {counted(len(refs), 'held run')}"] if refs else []
        words += ["no longer paused"] if was else []
        words += ["no more scouts"] if campaign.hold is not None and not request.run_ids else []
        ended_badly = campaign.state in OVER and campaign.state != CampaignState.SUCCEEDED
        hint = f"overnight retry {campaign.id} tries what failed or was cancelled again" if ended_badly else None
        return r.Answer(True, "; ".join(words) or "nothing was paused or held", hint, campaign=campaign.id)

    def _state(self, ref: RunRef) -> RunState | None:
        run = self._ledger.get(ref)
        return None if run is None else run.state

    def _cause(self, ref: RunRef) -> str:
        run = self._ledger.get(ref)
        return "" if run is None else run.cause

    def _cancel(self, request: r.Cancel, now: Moment) -> r.Answer:
        campaign = self._campaign(request.campaign)
        if request.run_ids:
            named = self._refs(campaign.id, request.run_ids)
            refs = [ref for ref in named if self._state(ref) not in ENDED]
            if not refs:
                what = "it has" if len(named) == 1 else "all of them have"
                raise Refusal(f"nothing to cancel: {what} ended already", f"overnight status {campaign.id}")
        else:
            if campaign.state in OVER:
                raise Refusal(
                    f"{campaign.id} has ended already: {campaign.state.value}", f"overnight status {campaign.id}"
                )
            words = f"{request.by} cancelled the campaign"
            self._ledger.put(replace(campaign, cancelling=words))
            refs = self._of(campaign.id, RunState.RUNNING, RunState.VERIFYING, RunState.WAITING, RunState.HELD)
        for ref in refs:
            self._ledger.apply(ref, CancelRequested(now, request.by, f"{request.by} cancelled it"))
        return r.Answer(True, "being cancelled; live attempts get their grace", campaign=campaign.id)

    def sweep_cancelled(self, now: Moment) -> bool:
        """Queued runs of cancelled campaigns, some each turn. True: there is more."""
        more = False
        for campaign in list(self._ledger.campaigns.values()):
            if not campaign.cancelling:
                continue
            for ref in self._of(campaign.id, RunState.WAITING):
                self._ledger.apply(ref, CancelRequested(now, "supervisor", campaign.cancelling))
            for _ in range(SWEPT_PER_TURN):
                entry = self._ledger.next_queued(campaign.id)
                if entry is None:
                    break
                self._ledger.apply(entry[0], CancelRequested(now, "supervisor", campaign.cancelling))
            more = more or self._ledger.queued(campaign.id) > 0
        return more


def _tonight(campaign: Campaign, shell: r.Shell, now: Moment) -> Campaign:
    """With the next deadline, where the last one has come: another job of the scheduler, the next night."""
    if campaign.deadline is not None and not deadline.reached(campaign, now):
        return campaign
    return with_deadline(campaign, shell.env, now)


def _named(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
