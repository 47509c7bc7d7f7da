"""A campaign's own rules and the logs of its ranks, from the file to the summary, with real processes."""

from campaign_world import Ground, document, ground

__all__ = ["ground"]

# A launcher of two ranks, as torchrun with --log-dir: what a rank says is in a file of its own.
LAUNCHER = """
import pathlib, sys
logs = pathlib.Path(sys.argv[1]) / "attempt_0"
for rank, words in enumerate(("step 1\\n", "step 1\\nLeaseLost: node a7\\n")):
    (logs / str(rank)).mkdir(parents=True)
    (logs / str(rank) / "stderr.log").write_text(words)
print("torch.distributed.elastic.multiprocessing.errors.ChildFailedError:", file=sys.stderr)
sys.exit(1)
"""
CAMPAIGN = """
name = "ranks"
command = ["python3", "launcher.py", "{out_dir}/{tag}"]
[[run]]
run_id = "r0"
tag = "logs [a]"
[failures]
rules = "mine.toml"
logs = ["{tag}/**/stderr.log"]
"""
MINE = '[lease]\nclass = "config"\nfind = ["LeaseLost"]\nmessage = "the lease is gone: {line}"\n'


def test_a_ranks_log_and_a_persons_rule_give_the_class(ground: Ground) -> None:
    """The failing rank's words were in a file of its own, in words of its own: the run was `unknown`, and tried again.

    The rules' file is gone meanwhile: its text is what counts.
    """
    ground.file("launcher.py", LAUNCHER)
    rules = ground.file("mine.toml", MINE)
    file = ground.file("c.toml", CAMPAIGN)
    campaign = ground.launch(file)
    rules.unlink()
    ground.overnight("watch", campaign, "--json", code=1)
    failure = ground.summary(campaign, "r0")["failure"]
    assert (failure["class"], failure["rule"]) == ("config", "own:lease")
    assert failure["evidence"]["file"] == "out/logs [a]/attempt_0/1/stderr.log"
    assert failure["evidence"]["line"] == 2
    revision = document(ground.folder(campaign) / "revisions" / "1.json")
    assert revision["policy"]["failures"]["rules"]["text"] == MINE
    assert "what to do: correct the arguments" in ground.overnight("why", campaign, "r0").out
