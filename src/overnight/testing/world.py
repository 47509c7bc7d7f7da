"""World builder: campaigns and requests for tests, without a file in between."""

import hashlib
from collections.abc import Mapping, Sequence

from overnight.core import ending
from overnight.manifest import campaign_id, manifest_bytes
from overnight.model.classes import Classification
from overnight.model.codec import replace
from overnight.model.cures import Cured, CureOrder
from overnight.model.manifest import Frozen, Manifest, Row, RunSpec
from overnight.model.policy import CodeIdentity, Policy, RowPolicy
from overnight.model.requests import Launch, Shell
from overnight.ports import Cursor, Examined, ExamineOrder, LookOrder, Probe

SHELL = Shell(env={"PATH": "/bin"}, cwd="/nowhere", umask=0o022)
CLASS_OF_EXIT = {
    0: "none", 1: "code", 2: "config", 3: "network", 4: "nccl.timeout", 5: "oom.gpu", 6: "unknown", 7: "auth",
    8: "data.missing", 9: "disk.full", 10: "import", 11: "gpu.driver", 12: "gpu.hardware", 13: "auth",
    14: "gpu.hardware",
}  # fmt: skip
"""What a scripted attempt's exit code means to `ScriptedExaminer`."""
ABOUT_EXIT = {3: "hub.example", 7: "hub.example", 8: "/data/set", 9: "/data", 10: "no module named x", 13: "aws"}
"""And what that is about."""
MESSAGE_OF_EXIT = {14: "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."}


def frozen(
    run_ids: Sequence[str], policy: Policy, *, name: str = "sim", knobs: Mapping[str, object] | None = None,
    priorities: Mapping[str, int] | None = None,
) -> Frozen:  # fmt: skip
    """A campaign of scripted runs, as `launch` would hand it over."""
    manifest = Manifest(name, ("train", "{run_id}"), {}, (), tuple(Row(run_id, {}) for run_id in run_ids))
    data = manifest_bytes(manifest)
    ranks = priorities or {}
    runs = tuple(RunSpec(run_id, {}, policy=RowPolicy(priority=ranks.get(run_id, 0))) for run_id in run_ids)
    policy = replace(policy, executor="fake", fake=dict(knobs or {}))
    return Frozen(campaign_id(name, data), hashlib.sha256(data).hexdigest(), data, manifest, runs, policy)


def launch(request_id: str, campaign: Frozen, digest: str = "code-1") -> Launch:
    """The request that starts it."""
    return Launch(request_id, "tester@host", campaign, SHELL, (), CodeIdentity(digest, 1))


class ScriptedExaminer:
    """Classes by exit code (`CLASS_OF_EXIT`), ends that were our doing by what the supervisor knows."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def examine(self, order: ExamineOrder) -> Examined:
        attempt = order.attempt
        look = self._probe.look(LookOrder(order.ref, attempt.n, order.attempt_dir, order.out_dir, None, Cursor()))
        vitals = attempt.vitals
        if look.mark is not None:
            first = vitals.first_step if vitals.first_step is not None else (look.first or look.mark).step
            vitals = replace(vitals, marked=True, first_step=first, step=look.mark.step, total=look.mark.total)
        name, about, message = ending.stop_class(attempt), "", ""
        if name is None:
            record = attempt.exit
            if record is None or record.code is None or not record.recorded:
                name = "unknown"
            else:
                name, about = CLASS_OF_EXIT.get(record.code, "unknown"), ABOUT_EXIT.get(record.code, "")
                message = MESSAGE_OF_EXIT.get(record.code, "")
        return Examined(Classification(name, "scripted", message or name, about=about), vitals)


class ScriptedCures:
    """Causes are cured when a test says so: `cures` holds what they are about. `asked` are all looks."""

    def __init__(self) -> None:
        self.cures: set[str] = set()
        self.asked: list[CureOrder] = []

    def cured(self, order: CureOrder) -> Cured:
        self.asked.append(order)
        found = order.about in self.cures
        return Cured(found, "it is there again" if found else "it is not there")
