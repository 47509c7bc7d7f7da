"""The manifest's bytes, its ID, reading it back, and the difference of two."""

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_reading import Launch

from overnight.manifest import campaign_id, difference, load_manifest, manifest_bytes
from overnight.manifest.canonical import crockford
from overnight.model.codec import builtins, replace
from overnight.model.manifest import Manifest, Refusal, Row

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAPS = st.dictionaries(TEXT, TEXT, max_size=4)
MANIFESTS = st.builds(
    Manifest,
    name=TEXT,
    command=st.one_of(TEXT, st.lists(TEXT, max_size=3).map(tuple)),
    env=MAPS,
    required=st.lists(TEXT, max_size=2).map(tuple),
    rows=st.lists(st.builds(Row, run_id=TEXT, values=MAPS, env=MAPS), max_size=3).map(tuple),
)


@settings(deadline=None)
@given(MANIFESTS)
def test_the_fast_encoder_writes_rfc_8785(manifest: Manifest) -> None:
    """Two encoders that differ in one escape give one campaign two names."""
    assert manifest_bytes(manifest) == rfc8785.dumps(builtins(manifest))


@pytest.mark.parametrize("keys", ["\ue000\U00010000", "a\U0001f600\uffff", "\ud7ff\ue000", "é\u0080z"])
def test_key_order_beyond_the_basic_plane(keys: str) -> None:
    """UTF-16 sorts an emoji before U+E000, code points after it."""
    manifest = Manifest(name="n", command="c", env=dict.fromkeys(keys, "1"), required=(), rows=())
    assert manifest_bytes(manifest) == rfc8785.dumps(builtins(manifest))


def test_every_escape() -> None:
    """Control characters have one spelling each, DEL and slashes none."""
    text = "".join(map(chr, range(0x100))) + '\u2028\U0001f600/\\"'
    manifest = Manifest(name="n", command=text, env={"k": text}, required=(), rows=(Row("r", {text: text}),))
    assert manifest_bytes(manifest) == rfc8785.dumps(builtins(manifest))


def test_crockford() -> None:
    """The ID is read aloud and typed: no i, l, o, u."""
    assert crockford(bytes(8), 10) == "0000000000"
    assert crockford(b"\xff" * 8, 10) == "zzzzzzzzzz"
    assert crockford(bytes([0b00001_000, 0b10_00011_0, 0b0100_0010, 0b1_00110_00, 0b111_01000]), 8) == "12345678"


def test_the_id_is_the_digest_of_the_bytes(launch: Launch) -> None:
    """The name of a campaign proves its content, to anybody with sha256sum."""
    frozen = launch('name = "bat"\ncommand = ["a", "{x}"]\n[[run]]\nrun_id = "r"\nx = 1\n')
    assert frozen.manifest_bytes == (
        b'{"command":["a","{x}"],"env":{},"name":"bat","required":[],"rows":[{"env":{},"run_id":"r","values":{"x":"1"}}]}'
    )
    assert frozen.sha256 == hashlib.sha256(frozen.manifest_bytes).hexdigest()
    assert frozen.campaign == campaign_id("bat", frozen.manifest_bytes)
    bits = f"{int(frozen.sha256, 16):0256b}"[:50]
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    assert frozen.campaign == "bat-" + "".join(digits[int(bits[at : at + 5], 2)] for at in range(0, 50, 5))


BASE = 'name = "n"\ncommand = ["a", "{x}"]\n'


@pytest.mark.parametrize(
    "same",
    [
        '{base}[limits]\ntimeout = "1h"\n[[run]]\nrun_id = "r"\nx = 1\n',
        '{base}[[run]]\nx = "1"\nrun_id = "r"\nnote = "unused"\n"@priority" = 3\n',
        '{base}cwd = "/"\nfail_fast = true\n[retry]\nmax_attempts = 1\n[[run]]\nrun_id = "r"\nx = 1\n',
        '{base}[artifacts]\nexclude = ["x"]\n[zip]\nrun_id = "r"\nx = 1\n',
    ],
)
def test_policy_and_unused_columns_are_not_in_the_id(launch: Launch, same: str) -> None:
    """A longer timeout is the same experiment: its name must not change."""
    first = launch(BASE + '[[run]]\nrun_id = "r"\nx = 1\n')
    assert launch(same.format(base=BASE).replace("{{", "{")).campaign == first.campaign


@pytest.mark.parametrize(
    "other",
    ['[env]\nA = "1"\n[[run]]\nrun_id = "r"\nx = 1\n', '[[run]]\nrun_id = "r"\nx = 1.0\n',
     '[[run]]\nrun_id = "s"\nx = 1\n',
     '[artifacts]\nrequired = ["y"]\n[[run]]\nrun_id = "r"\nx = 1\n', '[[run]]\nrun_id = "r"\nx = 1\n"@env.A" = "1"\n'],
)  # fmt: skip
def test_what_is_computed_is_in_the_id(launch: Launch, other: str) -> None:
    """Results of one setting were once reported under the name of another."""
    assert launch(BASE + other).campaign != launch(BASE + '[[run]]\nrun_id = "r"\nx = 1\n').campaign


def test_reading_back(launch: Launch) -> None:
    """A manifest that somebody edited on disk is found out, not obeyed."""
    frozen = launch(BASE + '[[run]]\nrun_id = "r"\nx = 1\n')
    assert load_manifest(frozen.manifest_bytes, frozen.sha256) == frozen.manifest
    for data, sha256 in [
        (frozen.manifest_bytes.replace(b'"1"', b'"2"'), frozen.sha256),
        (frozen.manifest_bytes[:-5], None),
        (b"", None),
        (b"\xff", None),
        (b'{"name": 3}', None),
        (json.dumps(json.loads(frozen.manifest_bytes)).encode(), None),
    ]:
        with pytest.raises(Refusal) as refused:
            load_manifest(data, sha256)
        assert "manifest.json" in refused.value.message


def test_difference_in_words() -> None:
    """ "The manifest differs" sent people to diff two JSON lines of a megabyte."""
    rows = tuple(Row(f"r{n}", {"x": str(n)}) for n in range(9))
    old = Manifest("n", ("a", "b c"), {"A": "1", "B": "2"}, ("x",), rows)
    assert difference(old, old) == []
    changed = tuple(replace(row, values={"x": "new"}) for row in rows[1:6])
    new = Manifest("m", "a", {"A": "2", "C": "3"}, (), (*changed, Row("s", {})))
    words = difference(old, new)
    assert words[0] == "name: n became m"
    assert words[1] == "command: a 'b c' became 'a'"
    assert words[2:5] == ["env.A: '1' became '2'", "env.B is gone (it was '2')", "env.C = '3' is new"]
    assert words[6] == "4 rows removed: r0, r6, r7, …"
    assert words[7] == "1 row added: s"
    assert words[8] == "row r1 changed: x: '1' became 'new'"
    assert words[-1] == "2 more rows changed: r4, r5"
    assert difference(old, replace(old, rows=rows[::-1])) == ["the rows are the same in another order"]
