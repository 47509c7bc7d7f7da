"""Launching, and asking for changes, from Python."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from standin import StandIn

import overnight
from overnight import manifest
from overnight.api import NotFound, Refused, Unreachable, asking, launching, waiting
from overnight.api.places import all_campaigns, find, launch_root
from overnight.api.reporting import report
from overnight.api.watchers import place
from overnight.artifacts import finding
from overnight.manifest.own_config import own_config_path
from overnight.model import requests as r
from overnight.model.codec import replace
from overnight.model.reports import ScoutsReport
from overnight.supervisor import keep

ROWS = "run_id,seed\na,0\nb,1\nc,2\n"
COMMAND = ["python", "train.py", "seed={seed}", "out={out_dir}"]


def sweep(text: str = ROWS) -> Path:
    Path("sweep.csv").write_text(text)
    return Path("sweep.csv")


def test_a_notebook_can_launch_and_wait(standin: StandIn, root: Path) -> None:
    """Guards against an api that needs its own event loop, a terminal, or a file."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND, name="bat")
    assert campaign.id.startswith("bat-")
    assert campaign.root == root
    assert campaign.status().counts == {"pending": 3}
    standin.ends(failing={"b": "code"})
    report = campaign.wait(timeout=10)
    assert report.state == "failed"
    assert report.counts == {"failed": 1, "succeeded": 2}
    assert {run.run_id: run.state for run in report.runs} == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert campaign.why("b").rule == "python-traceback"
    with pytest.raises(overnight.NotFound):
        overnight.open("nix")


def test_what_runs_inherit_is_the_shell_that_typed(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against runs with the supervisor's environment of last week."""
    monkeypatch.setenv("WANDB_ENTITY", "ada")
    os.environb[b"BROKEN"] = b"\xff"
    try:
        campaign = overnight.launch(runs=sweep(), command=COMMAND)
    finally:
        del os.environb[b"BROKEN"]
    (request,) = standin.requests
    assert isinstance(request, r.Launch)
    assert request.shell.env["WANDB_ENTITY"] == "ada"
    assert request.shell.cwd == os.getcwd()
    assert "NOFILE" in request.shell.rlimits
    assert "BROKEN" not in request.shell.env
    assert any("BROKEN is not UTF-8" in note for note in campaign.warnings)


def test_nothing_is_written_on_refusal(tmp_path: Path) -> None:
    """Guards against half a campaign, or an empty root, left by a file with a typo."""
    Path("c.toml").write_text('command = ["true"]\n[limits]\nheartbeet = "5m"\ntimeout = "0"\n[[run]]\nrun_id = "a"\n')
    with pytest.raises(Refused) as refused:
        overnight.launch("c.toml")
    assert len(refused.value.faults) == 2
    assert {fault.line for fault in refused.value.faults} == {3, 4}
    assert "heartbeat" in str(refused.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["c.toml", "here"]


def test_launching_again_shows_the_campaign(standin: StandIn) -> None:
    """Guards against a second copy of a sweep because somebody pressed the up arrow."""
    first = overnight.launch(runs=sweep(), command=COMMAND)
    second = overnight.launch(runs=sweep(), command=COMMAND)
    assert (second.id, second.known, first.known) == (first.id, True, False)
    standin.ends()
    before = len(standin.requests)
    third = overnight.launch(runs=sweep(), command=COMMAND)
    assert third.known
    assert "has ended" in third.words
    assert len(standin.requests) == before, "nothing to ask for: every run has ended"


def test_another_manifest_under_an_unfinished_name_is_refused_with_the_difference(standin: StandIn) -> None:
    """Guards against a changed sweep quietly continuing yesterday's results."""
    first = overnight.launch(runs=sweep(), command=COMMAND)
    with pytest.raises(Refused) as refused:
        overnight.launch(runs=sweep(ROWS + "d,3\n"), command=COMMAND)
    words = str(refused.value)
    assert first.id in words
    assert "d" in " ".join(fault.message for fault in refused.value.faults)
    assert f"overnight amend {first.id}" in words
    assert "--fresh" in words
    second = overnight.launch(runs=sweep(ROWS + "d,3\n"), command=COMMAND, fresh=True)
    assert second.id != first.id


def test_an_ended_name_may_be_used_again(standin: StandIn) -> None:
    """Guards against having to invent a new name every night."""
    first = overnight.launch(runs=sweep(), command=COMMAND)
    standin.ends()
    assert overnight.launch(runs=sweep(ROWS + "d,3\n"), command=COMMAND).id != first.id


def test_a_refusal_of_the_supervisor_arrives_in_its_words(standin: StandIn) -> None:
    """Guards against "something went wrong"."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    standin.answers[r.Pause] = r.Answer(False, "it is over; there is nothing to pause", "look at status")
    with pytest.raises(Refused, match="nothing to pause") as refused:
        campaign.pause()
    assert refused.value.hint == "look at status"


def test_no_answer_is_unreachable_and_the_request_stays(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a client that hangs for ever, or that takes silence for yes."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    standin.silent = True
    with pytest.raises(Unreachable, match="has not answered"):
        asking.ask(campaign.place, r.Pause(id="1", by="x", campaign=campaign.id), within_seconds=0.3)


def test_no_supervisor_coming_up_is_unreachable(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Guards against a launch that says yes although nobody will run it. What was asked waits in the inbox."""

    def none(*_: object, **__: object) -> None:
        raise asking.keep.CannotSupervise("no supervisor came up", "read the log")

    monkeypatch.setattr(asking.keep, "ensure_keeper", none)
    with pytest.raises(Unreachable, match="no supervisor came up"):
        overnight.launch(runs=sweep(), command=COMMAND)
    assert len(list((root / ".state" / "inbox").glob("*.json"))) == 1


def test_a_full_disk_is_refused_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Guards against a campaign that dies of ENOSPC with half its files."""

    class Full:
        f_blocks, f_bavail, f_frsize, f_files, f_favail = 1000, 1, 4096, 1000, 1000

    monkeypatch.setattr(launching.os, "statvfs", lambda path: Full)
    with pytest.raises(Refused, match="no space left"):
        overnight.launch(runs=sweep(), command=COMMAND)
    assert not root.exists()


def test_threads_of_a_notebook_may_launch_at_once(standin: StandIn) -> None:
    """Two launches of one process, or of two containers with the same process number on one volume, wrote the same
    probe file: one of them was refused with "File exists"."""
    rows = sweep()
    names = [f"bat{i}" for i in range(6)]

    def one(name: str) -> str:
        return overnight.launch(runs=rows, command=COMMAND, name=name).id

    with ThreadPoolExecutor(len(names)) as pool:
        assert [found.rpartition("-")[0] for found in pool.map(one, names)] == names


def test_a_home_that_remembers_nothing_is_said(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container without a home every command that launch had printed answered `no campaign`."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    root = tmp_path / "here" / "overnight-runs"
    campaign = overnight.launch(command=["true"], root=root)
    assert f"your home directory remembers nothing: later commands need --root {root}" in campaign.warnings


def test_a_volume_that_tells_no_size_is_not_a_full_one(monkeypatch: pytest.MonkeyPatch, standin: StandIn) -> None:
    """/proc, and file systems that count nothing, have 0 blocks, of which 0 are free."""

    class Sizeless:
        f_blocks, f_bavail, f_frsize, f_files, f_favail = 0, 0, 4096, 0, 0

    monkeypatch.setattr(launching.os, "statvfs", lambda path: Sizeless)
    overnight.launch(runs=sweep(), command=COMMAND)


def test_a_notebook_passes_what_python_has(standin: StandIn) -> None:
    """A command that was one string became an argument for each letter; None among arguments became the word None; a
    dictionary of settings was no KEY=VALUE."""
    overnight.launch(command="echo $HOME {out_dir}", name="text", settings={"limits.grace": "5s", "fail_fast": True})
    request = standin.requests[-1]
    assert isinstance(request, r.Launch)
    assert request.frozen.manifest.command == "echo $HOME {out_dir}"
    assert (request.frozen.policy.limits.grace, request.frozen.policy.fail_fast) == (5.0, True)
    campaign = overnight.launch(command=[Path("train.sh"), "{out_dir}"], name="path", settings="limits.grace=6s")
    campaign.amend(settings={"limits.heartbeat": "45m"})
    amended = standin.requests[-1]
    assert isinstance(amended, r.Amend) and amended.policy is not None
    assert (amended.policy.limits.heartbeat, amended.policy.limits.grace) == (2700.0, 6.0)
    asked = len(standin.requests)
    for wrong, words in (
        ({"command": ["true", None]}, "None among its arguments"),
        ({"command": ["true", 1e-4]}, "0.0001 among its arguments"),
        ({"command": 3}, "3 is no command"),
        ({"command": ["true"], "runs": [{"lr": 1}]}, "runs is the path of a file, and this is a list"),
        ({"file": 3}, "file is the path of a file"),
    ):
        with pytest.raises(Refused) as refused:
            overnight.launch(**wrong)  # type: ignore[arg-type]  # that is what is tested
        assert words in refused.value.message and refused.value.hint
    assert len(standin.requests) == asked


def test_a_refusal_says_its_sentence_once() -> None:
    """The one fault of a file stood twice in a notebook's error."""
    with pytest.raises(Refused) as refused:
        overnight.launch("nix.toml")
    assert str(refused.value).count("nix.toml does not exist") == 1
    with pytest.raises(Refused) as refused:
        overnight.launch(command=["true"], timeout="0", gpus=-1)
    assert "limits.timeout" in str(refused.value) and "resources.gpus" in str(refused.value)


def test_a_root_that_cannot_be_is_refused() -> None:
    """Guards against a traceback when --root names a file, or something below one."""
    Path("file").write_text("x")
    with pytest.raises(Refused, match="is a file"):
        overnight.launch(runs=sweep(), command=COMMAND, root="file/root")


def test_a_campaign_is_found_by_prefix_and_folder_from_anywhere(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against "no such campaign" because one stands in another directory in the morning."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND, name="bat")
    campaign.path.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert overnight.open("bat").id == campaign.id
    assert overnight.open(campaign.id).root == campaign.root
    assert overnight.open(str(campaign.path)).id == campaign.id
    assert overnight.open(f"{campaign.path}/runs").id == campaign.id
    monkeypatch.chdir(campaign.path)
    assert overnight.open(".").id == campaign.id
    assert overnight.open("bat", root=campaign.root).id == campaign.id
    with pytest.raises(NotFound):
        overnight.open("bat", root=tmp_path / "elsewhere")


def test_a_root_with_two_paths_is_one_root(
    standin: StandIn, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home reached through a link: each campaign was listed twice, its failures were counted twice, and `supervisor
    status` asked which of the two roots was meant."""
    Path("link").symlink_to(root)
    one = overnight.launch(runs=sweep(), command=COMMAND, name="bat")
    two = overnight.launch(runs=sweep(), command=COMMAND, name="cow", root="link")
    assert (one.root, two.root) == (root, root.parent / "link")
    standin.ends(failing={"a": "code"})
    monkeypatch.chdir(tmp_path)
    assert sorted(line.campaign for _, line in all_campaigns()) == sorted([one.id, two.id])
    assert report().attempts == 1
    assert place().root in (one.root, two.root)


def test_an_ambiguous_prefix_names_the_candidates(standin: StandIn) -> None:
    """Guards against cancelling the wrong one of two."""
    one = overnight.launch(runs=sweep(), command=COMMAND, name="bat")
    two = overnight.launch(runs=sweep(), command=COMMAND, name="bath")
    with pytest.raises(NotFound) as missing:
        overnight.open("ba")
    assert one.id in str(missing.value)
    assert two.id in str(missing.value)
    assert find("bath")[1] == two.id
    assert find("bat")[1] == one.id, "a whole name is no mere beginning of another"


def test_a_fault_in_the_own_configuration_is_said_at_launch(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A misspelt key in [notify]: the night went wrong, and nobody was told of it."""
    mine = tmp_path / "mine.toml"
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(mine))
    mine.write_text('[notify]\ncomand = "mail me"\n')
    warnings = overnight.launch(runs=sweep(), command=COMMAND, name="told").warnings
    assert any("notify.comand is not known" in each and "command" in each for each in warnings)
    mine.write_text('[notify]\ncommand = "mail me"\n')
    assert not any("told" in each for each in overnight.launch(runs=sweep(), command=COMMAND, name="fine").warnings)


def test_a_user_without_a_home_launches(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container with a bare number for a user each command but `status ID` was an internal error, and a launch
    answered 4 although its campaign ran."""
    monkeypatch.delenv("HOME")

    def homeless(*_: object, **__: object) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_state_dir", homeless)
    monkeypatch.setattr("platformdirs.user_config_dir", homeless)
    monkeypatch.setattr("overnight.artifacts.roots.memory", lambda env=None: f"{Path.cwd()}/no/roots.jsonl")
    assert finding.user_state({}) == f"/var/tmp/overnight-{os.getuid()}"
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    assert not any("nobody may be told" in words for words in campaign.warnings)
    assert [line.campaign for _, line in all_campaigns()] == [campaign.id]
    assert str(own_config_path({})).startswith("/nonexistent/")
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *_, **__: "~/.local/state/overnight")  # older ones
    assert finding.user_state({}) == f"/var/tmp/overnight-{os.getuid()}"


def test_the_root_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against a launch that ignores $OVERNIGHT_ROOT; --root wins over it."""
    monkeypatch.setenv("OVERNIGHT_ROOT", str(tmp_path / "r"))
    assert launch_root(None) == tmp_path / "r"
    assert launch_root("x") == Path.cwd() / "x"


def test_amending_builds_the_new_policy_on_the_client(standin: StandIn) -> None:
    """Guards against faults of an amendment that only show when it is too late to tell the person."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    Path("more.csv").write_text("run_id,seed\nd,3\n")
    answer = campaign.amend(settings=["limits.heartbeat=45m"], runs="more.csv", drop=["a"], env=True, why="quiet")
    request = standin.requests[-1]
    assert isinstance(request, r.Amend)
    assert request.policy is not None
    assert request.policy.limits.heartbeat == 2700.0
    assert [spec.run_id for spec in request.added] == ["d"]
    assert request.dropped == ("a",)
    assert request.shell is not None
    assert request.words == "limits.heartbeat: auto became 45m; 1 run added; another environment"
    assert any("heartbeat" in detail for detail in answer.details)
    with pytest.raises(Refused, match=r"."):
        campaign.amend(settings=["limits.heartbeet=1m"])
    with pytest.raises(Refused, match="nothing to amend"):
        campaign.amend()
    with pytest.raises(NotFound, match="no run zz"):
        campaign.amend(drop=["zz"])


def test_changed_code_comes_with_its_patch(standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revisions that a person's retry, resume or amend made named a digest that nobody could turn into code again."""
    for look in (manifest.code_identity, manifest.code_patch):  # so that a busy machine does not decide
        monkeypatch.setattr(manifest, look.__name__, partial(look, deadline_seconds=60.0), raising=False)

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", str(tmp_path / "here"), *who, *words], check=True)

    Path("train.py").write_text("lr = 1\n")
    git("init", "-q")
    git("add", "train.py")
    git("commit", "-q", "-m", "one")
    campaign = overnight.launch(runs=sweep(), command=COMMAND, name="bat")
    launched = standin.requests[-1]
    assert isinstance(launched, r.Launch)
    assert launched.patch is not None and "sweep.csv" in launched.patch and "train.py" not in launched.patch
    campaign.amend(settings=["limits.heartbeat=45m"])
    amended = standin.requests[-1]
    assert isinstance(amended, r.Amend) and amended.patch is None, "the code is the one that was launched"
    Path("train.py").write_text("lr = 2\n")
    campaign.retry()
    campaign.resume()
    campaign.amend(settings=["limits.heartbeat=45m"])
    for request in standin.requests[-3:]:
        assert isinstance(request, r.Retry | r.Resume | r.Amend)
        assert request.patch is not None and "-lr = 1\n+lr = 2\n" in request.patch


def test_requests_name_what_was_asked(standin: StandIn) -> None:
    """Guards against options that are parsed and then forgotten."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    campaign.retry("a", "b", scratch=True)
    campaign.retry(failure_class="oom.gpu")
    campaign.pause(now=True)
    campaign.resume("c")
    campaign.cancel()
    retried, by_class, paused, resumed, cancelled = standin.requests[1:]
    assert isinstance(retried, r.Retry)
    assert (retried.run_ids, retried.scratch) == (("a", "b"), True)
    assert isinstance(by_class, r.Retry)
    assert by_class.failure_class == "oom.gpu"
    assert isinstance(paused, r.Pause)
    assert paused.now
    assert isinstance(resumed, r.Resume)
    assert resumed.run_ids == ("c",)
    assert isinstance(cancelled, r.Cancel)
    assert cancelled.run_ids == ()
    with pytest.raises(Refused, match=r"oom\.gpuu"):
        campaign.retry(failure_class="oom.gpuu")
    with pytest.raises(NotFound, match="no run z"):
        campaign.cancel("a", "z")


def test_waiting_returns_when_nothing_can_move(standin: StandIn) -> None:
    """Guards against a `--wait` that hangs on a paused or held campaign until somebody comes by."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    assert campaign.wait(timeout=0.3).state == "active"
    from overnight.model.codec import replace
    from overnight.model.states import CampaignState
    from overnight.ports import Batch

    paused = replace(standin.campaign(), state=CampaignState.PAUSED, paused=True)
    standin.commit(Batch(campaigns={campaign.id: paused}))
    assert campaign.wait(timeout=10).state == "paused"


def test_waiting_says_what_counts_down_once(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """While scouts waited the log of a night's `--wait` grew by a line a second."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    plain = campaign.status()
    scouts = ScoutsReport("import", "no module", ("a",), 1, "", "")
    looks = [replace(plain, words=f"nothing but scouts starts: the next in {n} s", scouts=scouts) for n in range(9)]
    looks += [replace(looks[-1], scouts=replace(scouts, started=2)), replace(plain, settled=True), plain]
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(type(campaign), "status", lambda self, limit=0: looks.pop(0))
    told: list[str] = []
    campaign.wait(tell=told.append)
    assert told == ["nothing but scouts starts: the next in 0 s", "nothing but scouts starts: the next in 8 s"]


def test_a_stopped_supervisor_ends_the_wait(standin: StandIn) -> None:
    """Guards against a `--wait` that fights with `supervisor stop`."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)

    def stop(_: str) -> None:
        raise AssertionError("nothing to tell")

    from overnight.api.waiting import Overseeing

    overseeing = Overseeing(campaign, stop)
    (standin.state / "stopped").write_text("ada")
    with pytest.raises(Unreachable, match="supervisor stop"):
        overseeing.look()


def test_a_hand_over_is_no_stop(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a night's `--wait` that ends with "was stopped" because it looked amid a `restart`, and
    against a root that stays down because the client that handed over was killed."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    overseeing = waiting.Overseeing(campaign, lambda words: None)
    monkeypatch.setattr(waiting, "OVERSEE_SECONDS", 0.0)
    wish = standin.state / "stopped"
    keep.wish_handed_over(standin.state, "ada")
    overseeing.look()
    assert wish.read_text() == "handed over by ada\n"
    os.utime(wish, (0, 0))
    overseeing.look()
    assert not wish.exists()


def test_results_are_a_dictionary_for_each_run(standin: StandIn) -> None:
    """Guards against a notebook cell that fails because one run has not ended, or counts one that failed."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND)
    assert campaign.results() == []
    standin.ends(failing={"b": "code"})
    rows = campaign.results()
    assert [(row["run_id"], row["params"], row["seconds"]) for row in rows] == [
        (name, {"seed": seed}, 60.0) for name, seed in (("a", "0"), ("c", "2"))
    ]
    assert rows[0]["path"] == str(campaign.path / "runs" / "a")
    assert [(row["run_id"], row["class"]) for row in campaign.results(all=True)] == [
        ("a", None), ("b", "code"), ("c", None),
    ]  # fmt: skip
    with pytest.raises(Refused, match="no run here has a metric"):
        campaign.results(metric="loss")


def test_a_damaged_root_keeps_nobody_from_the_others(standin: StandIn, tmp_path: Path) -> None:
    """Guards against one old, broken database in some forgotten folder making every name unknown."""
    campaign = overnight.launch(runs=sweep(), command=COMMAND, name="bat")
    broken = tmp_path / "here" / "broken"
    (broken / ".state").mkdir(parents=True)
    (broken / ".state" / "overnight.db").write_bytes(b"no database" * 1000)
    os.environ["OVERNIGHT_ROOT"] = str(broken)
    try:
        assert overnight.open("bat").id == campaign.id
        with pytest.raises(Unreachable, match="no database"):
            overnight.open("nix", root=broken)
    finally:
        del os.environ["OVERNIGHT_ROOT"]


def test_a_reader_finds_the_state_that_a_launch_writes_to(standin: StandIn, root: Path, tmp_path: Path) -> None:
    """Guards against a reader that looks into another database than the supervisor writes."""
    from overnight.api import places
    from overnight.artifacts import roots

    assert places.place_of(str(root)).state == roots.find_state_dir(root)
    elsewhere = tmp_path / "state"
    elsewhere.mkdir()
    (elsewhere / "overnight.db").touch()
    (root / roots.POINTER).write_text(f'{{"{os.uname().nodename}": "{elsewhere}"}}')
    assert places.place_of(str(root)).state == elsewhere == roots.find_state_dir(root)
