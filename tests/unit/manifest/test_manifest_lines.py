"""Line numbers of TOML keys."""

from overnight.manifest.lines import key_lines

TEXT = '''# name = "not this"
name = "x"
command = [
    "a = 1", # matrix = 3
    "[limits]",
]
text = """
fake = 1
[no.table]
"""
[limits]  # [[x]]
timeout = "1h"
"odd key" = 1
[retry.class]
"oom.gpu" = 1
oom.host = 2
[[run]]
lr = 1
[[run]]
lr = 2
backoff = { first = "1s",
}
last = '['
after = 1
'''


def test_keys_are_found_and_nothing_else() -> None:
    """A fault that names the wrong line costs more time than one that names none."""
    lines = key_lines(TEXT)
    assert lines[("name",)] == 2
    assert lines[("command",)] == 3
    assert ("matrix",) not in lines and ("fake",) not in lines and ("no", "table") not in lines
    assert lines[("limits",)] == 11
    assert lines[("limits", "timeout")] == 12
    assert lines[("limits", "odd key")] == 13
    assert lines[("retry", "class", "oom.gpu")] == 15
    assert lines[("retry", "class", "oom", "host")] == 16
    assert lines[("run", "0", "lr")] == 18
    assert lines[("run", "1", "lr")] == 20
    assert lines[("run", "1", "last")] == 23
    assert lines[("run", "1", "after")] == 24
