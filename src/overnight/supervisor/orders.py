"""Orders: what executors, probes and files need to know, built from a run's state, its row and its campaign."""

import contextlib
import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from overnight.artifacts import layout
from overnight.artifacts.roots import attempts_home
from overnight.core import limits
from overnight.core.plan import gpus_of
from overnight.manifest import UnknownPlaceholder, expand_command, expand_env, expand_text
from overnight.model.campaign import Campaign
from overnight.model.codec import pretty
from overnight.model.manifest import RunSpec
from overnight.model.run import Attempt, Run, StopCommand
from overnight.model.time import Moment
from overnight.ports import AttemptRef, ExamineOrder, FinishOrder, LookOrder, RunRef, SlotRequest, StartOrder
from overnight.supervisor import torchrun
from overnight.supervisor.watches import Watch

ALWAYS = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
OFFLINE = {"WANDB_MODE": "offline"}


class Orders:
    """Builds orders for one root and state."""

    def __init__(self, root: Path, state: Path) -> None:
        self.state = str(state)
        self.layout = layout.Layout(str(root), str(attempts_home(root, state)))
        # The same manifest under another root is the same campaign ID. An attempt's ID finds its processes and its
        # container among all of the host, so that it must be the root's own.
        self._mark = hashlib.sha256(str(root).encode()).hexdigest()[:6]

    def run_dir(self, ref: RunRef) -> str:
        """The run's own folder."""
        return layout.run_dir(self.layout.root, ref.campaign, ref.run_id)

    def reserved(self, run: Run, campaign: Campaign, attempt: Attempt) -> dict[str, str]:
        """The reserved placeholders of one attempt."""
        run_dir = self.run_dir(RunRef(run.campaign, run.run_id))
        gpus = gpus_of(campaign, run.policy)
        return {
            "run_id": run.run_id,
            "campaign": run.campaign,
            "attempt": str(attempt.n),
            "attempt_id": f"{run.campaign}.{run.run_id}.{attempt.n}.{self._mark}",
            "out_dir": f"{run_dir}/out",
            "run_dir": run_dir,
            "gpus": f"{gpus:g}" if 0 < gpus < 1 else str(int(gpus)),
            "gpu_ids": ",".join(attempt.slot.gpu_ids),
            "slot": attempt.slot.name,
            "port": str(attempt.port or ""),
            "checkpoint": attempt.resume_from or "",
        }

    def launch_env(self, campaign: str) -> str:
        """The file of what runs inherit."""
        return layout.launch_env_file(self.state, campaign)

    def target(self, run: Run, attempt: Attempt, stop: StopCommand | None = None) -> AttemptRef:
        """Names an attempt for executors."""
        ref = RunRef(run.campaign, run.run_id)
        return AttemptRef(ref, attempt, self.layout.attempt_dir(ref.campaign, ref.run_id, attempt.n), stop)

    def to_end(self, run: Run, campaign: Campaign, spec: Callable[[], RunSpec]) -> AttemptRef:
        """Names the run's newest attempt, with what ends its work that lives elsewhere."""
        stop = None
        if campaign.policy.stop.command:
            with contextlib.suppress(
                ValueError, KeyError
            ):  # a row added later, or not to be read: no obstacle to an end
                stop = self.stop_command(run, campaign, spec())
        return self.target(run, run.attempts[-1], stop)

    def stop_command(self, run: Run, campaign: Campaign, spec: RunSpec) -> StopCommand | None:
        """What ends the work of the run's newest attempt that lives elsewhere. Raises UnknownPlaceholder for a row
        without one of its columns."""
        stop = campaign.policy.stop
        if not stop.command:
            return None
        reserved = self.reserved(run, campaign, run.attempts[-1])
        return StopCommand(tuple(expand_command(stop.command, spec.params, reserved)), stop.timeout)

    def start(self, run: Run, campaign: Campaign, spec: RunSpec) -> StartOrder:
        """Begin the run's newest attempt."""
        attempt = run.attempts[-1]
        ref = RunRef(run.campaign, run.run_id)
        reserved = self.reserved(run, campaign, attempt)
        resume = campaign.policy.checkpoint.resume if attempt.resume_from is not None else ()
        argv = expand_command(campaign.command, spec.params, reserved, extra=resume)
        env = {**ALWAYS, **expand_env(campaign.env, spec.env, spec.params, reserved)}
        if attempt.offline:
            env.update(OFFLINE)
        env.update(self._ours(run, campaign, attempt, reserved))
        run_dir = self.run_dir(ref)
        return StartOrder(
            ref=ref, n=attempt.n, attempt_id=reserved["attempt_id"], run_dir=run_dir,
            out_dir=reserved["out_dir"], attempt_dir=self.target(run, attempt).attempt_dir, argv=tuple(argv),
            cwd=_below(campaign.cwd, expand_text(campaign.policy.cwd, spec.params, reserved)),
            env_set=env, env_unset=(), env_default=torchrun.variables(self.target(run, attempt).attempt_dir),
            umask=campaign.umask,
            launch_env=self.launch_env(run.campaign),
            rlimits=campaign.rlimits, slot=attempt.slot, bound_seconds=limits.bound_seconds(run, campaign),
            grace=campaign.policy.limits.grace, knobs=campaign.policy.fake,
            stop=self.stop_command(run, campaign, spec),
            run_json=pretty({
                "campaign": campaign.id, "manifest_sha256": campaign.sha256, "run_id": run.run_id,
                "params": spec.params,
            }),
        )  # fmt: skip

    def _ours(self, run: Run, campaign: Campaign, attempt: Attempt, reserved: dict[str, str]) -> dict[str, str]:
        env = {
            "OVERNIGHT_CAMPAIGN": run.campaign,
            "OVERNIGHT_RUN": run.run_id,
            "OVERNIGHT_ATTEMPT": str(attempt.n),
            "OVERNIGHT_ATTEMPT_ID": reserved["attempt_id"],
            "OVERNIGHT_OUT_DIR": reserved["out_dir"],
            "OVERNIGHT_CHECKPOINT": reserved["checkpoint"],
            "OVERNIGHT_PROGRESS": self.target(run, attempt).attempt_dir + "/progress.json",
        }
        if attempt.slot.gpu_ids:
            env["CUDA_VISIBLE_DEVICES"] = reserved["gpu_ids"]
            # Our locks follow the driver's order of GPUs; CUDA's own default puts the fastest first.
            env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        if attempt.port is not None:
            env["MASTER_PORT"] = env["PET_MASTER_PORT"] = str(attempt.port)
        return env

    def slot(self, run: Run, campaign: Campaign) -> SlotRequest:
        """What the run's next attempt needs."""
        devices = tuple((device.entry, device.uuid) for device in campaign.devices)
        return SlotRequest(campaign.id, gpus_of(campaign, run.policy), devices, run.avoid)

    def look(self, run: Run, campaign: Campaign, watch: Watch, spec: RunSpec, now: Moment) -> LookOrder:
        """Look at the run's live attempt."""
        attempt = watch.attempt
        ref = RunRef(run.campaign, run.run_id)
        path = campaign.policy.checkpoint.path
        return LookOrder(
            ref=ref, n=attempt.n, attempt_dir=self.target(run, attempt).attempt_dir,
            out_dir=f"{self.run_dir(ref)}/out", pattern=campaign.policy.progress.pattern, cursor=watch.cursor,
            checkpoint=None if path is None else expand_text(path, spec.params, self.reserved(run, campaign, attempt)),
            gpus=_gpus(campaign, attempt) if watch.asks_for_gpus(now) else (),
        )  # fmt: skip

    def examine(self, run: Run, campaign: Campaign, spec: RunSpec) -> ExamineOrder:
        """Look at what the run's newest attempt left."""
        attempt = run.attempts[-1]
        ref = RunRef(run.campaign, run.run_id)
        reserved = self.reserved(run, campaign, attempt)
        path = campaign.policy.checkpoint.path
        run_dir = self.run_dir(ref)
        return ExamineOrder(
            ref=ref, attempt=attempt, run_dir=run_dir, out_dir=reserved["out_dir"],
            attempt_dir=self.target(run, attempt).attempt_dir, pattern=campaign.policy.progress.pattern,
            required=campaign.required, complete=campaign.policy.checkpoint.complete, excluded=run.excluded,
            checkpoint=None if path is None else expand_text(path, spec.params, reserved),
            rules=campaign.policy.failures.rules, logs=tuple(_logs(campaign, spec, reserved)),
            elastic_error_file=_elastic_error_file(campaign, spec, reserved),
        )  # fmt: skip

    def finish(self, run: Run, campaign: Campaign, spec: RunSpec) -> FinishOrder:
        """Write what remains of an ended run."""
        return FinishOrder(run, spec, campaign, self.run_dir(RunRef(run.campaign, run.run_id)),
                           len(campaign.devices))  # fmt: skip


def command_dir(campaign: Campaign) -> str:
    """Where the commands of a campaign run; where rows differ in it, where the campaign was launched."""
    return campaign.cwd if "{" in campaign.policy.cwd else _below(campaign.cwd, campaign.policy.cwd)


def _below(folder: str, path: str) -> str:
    if path.startswith("/"):
        return path
    return folder if path in ("", ".") else str(Path(folder) / path)


def _logs(campaign: Campaign, spec: RunSpec, reserved: Mapping[str, str]) -> Iterator[str]:
    """The globs of further logs; what is put into them is no glob, even if it looks like one."""
    if not campaign.policy.failures.logs:
        return
    params = {name: glob.escape(value) for name, value in spec.params.items()}
    values = {name: glob.escape(value) for name, value in reserved.items()}
    for pattern in campaign.policy.failures.logs:
        try:
            yield expand_text(pattern, params, values)
        except UnknownPlaceholder:
            continue  # a row that was added later has no such column; its own output is still read


def _elastic_error_file(campaign: Campaign, spec: RunSpec, reserved: dict[str, str]) -> str | None:
    """The file that `[env]` names to torchelastic. One that several runs at once write to is nobody's."""
    written = spec.env.get(torchrun.ERROR_FILE, campaign.env.get(torchrun.ERROR_FILE))
    if not written or (campaign.slots > 1 and torchrun.ERROR_FILE not in spec.env and "{" not in written):
        return None
    env = expand_env(campaign.env, spec.env, spec.params, reserved)
    cwd = _below(campaign.cwd, expand_text(campaign.policy.cwd, spec.params, reserved))
    return _below(cwd, env[torchrun.ERROR_FILE])


def _gpus(campaign: Campaign, attempt: Attempt) -> tuple[str, ...]:
    """The UUIDs of an attempt's whole GPUs; none where one of them has none, or is shared."""
    if campaign.policy.resources.gpus < 1:
        return ()
    known = {device.entry: device.uuid for device in campaign.devices}
    found = [known.get(entry) for entry in attempt.slot.gpu_ids]
    return tuple(uuid for uuid in found if uuid is not None) if None not in found else ()
