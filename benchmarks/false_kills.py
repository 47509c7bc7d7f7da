"""Healthy programs ended by mistake, and hangs noticed late: recorded cadences, replayed through what watches.

Each recording is replayed as it was and as if there were 10 and 30 times the work; a hang stops after 30, 60
or 90 % of what it wrote, after its first advance. `python benchmarks/false_kills.py --docs` writes the table and the
plot of docs/explanation/life-and-progress.md anew.
"""

import re
import statistics
import sys
from itertools import pairwise
from pathlib import Path

from replay import Cadence, cadences, replaying, with_limits
from table import Line, Series

SETTINGS: dict[str, float | str] = {
    "10s": 10, "30s": 30, "1m": 60, "2m": 120, "5m": 300, "10m": 600, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200,
    "auto": "auto",
}  # fmt: skip
SCALES = (1, 10, 30)
SHARES = (0.3, 0.6, 0.9)
FURTHEST = 500  # times the work, where a cadence is stretched until the defaults end it
LONGEST_SECONDS = 7 * 3600.0  # no limit of silence is longer
DOCS = Path(__file__).parents[1] / "docs" / "explanation"
POLICIES = {name: with_limits(heartbeat=value) for name, value in SETTINGS.items()}
DEFAULTS = {"auto": POLICIES["auto"]}
NOISE = b"still waiting for data\n"


def false_kills(cadence: Cadence) -> list[str]:
    """The settings that end a program which was at work to its end."""
    with replaying(cadence, POLICIES) as replay:
        return list(replay.ended_by(cadence.seconds))


def latencies(cadence: Cadence, share: float, noise: bytes = b"") -> dict[str, float]:
    """By setting, seconds from a hang until it is ended; nothing where it hung before its first advance, or the setting
    ended it before it hung."""
    hung = cadence.cut(share)
    since = hung.rows[-1][0]
    with replaying(hung, POLICIES, noise) as replay:
        found = replay.ended_by(since + LONGEST_SECONDS)
        begun = replay.started_moving
    ended = {name: event.at.mono - 1000.0 - since for name, event in found.items()}  # the clock begins at 1,000 s
    return {name: seconds for name, seconds in ended.items() if begun and seconds > 0}


def stretch(cadence: Cadence) -> int | None:
    """From how many times the work on the defaults end it; None: not up to FURTHEST."""
    for factor in (*range(10, 100, 5), *range(100, FURTHEST + 1, 25)):
        scaled = cadence.scaled(factor)
        with replaying(scaled, DEFAULTS) as replay:
            if replay.ended_by(scaled.seconds):
                return factor
    return None


def measure(series: Series, *, quick: bool) -> list[Line]:
    """The budget: none at the defaults."""
    kills, replays = dict.fromkeys(SETTINGS, 0), 0
    for cadence in cadences()[: 2 if quick else None]:
        for scale in SCALES[: 1 if quick else None]:
            scaled = cadence.scaled(scale)
            ended = false_kills(scaled)
            kills, replays = {name: count + (name in ended) for name, count in kills.items()}, replays + 1
            for share in SHARES:
                for name, seconds in latencies(scaled, share).items():
                    series.note(f"silent hang ended after, heartbeat {name}", [seconds / 60], "min")
                for name, seconds in latencies(scaled, share, NOISE).items():
                    if name == "auto":
                        series.note("hang that prints ended after, defaults", [seconds / 60], "min")
    series.note("replays", [replays], "runs")
    for name, count in kills.items():
        series.note(f"false kills, heartbeat {name}", [count], "runs")
    return [series.never_above("false kills, heartbeat auto", 0)]


def rows(series: Series) -> list[tuple[str, int, int, float, float]]:
    """(setting, false kills, replays, median and longest minutes until a silent hang is ended)."""
    found = []
    for name in SETTINGS:
        kills = series.values[f"false kills, heartbeat {name}"][0]
        late = series.values.get(f"silent hang ended after, heartbeat {name}") or [0.0]
        found.append((name, int(kills), int(series.values["replays"][0]), statistics.median(late), max(late)))
    return found


def markdown(series: Series) -> str:
    """The table of the page."""
    lines = ["| `heartbeat` | healthy runs ended | a silent hang is ended after (median, longest) |", "|---|---|---|"]
    lines += [f"| `{name}` | {kills} of {of} | {middle:.1f} min, {longest:.1f} min |"
              for name, kills, of, middle, longest in rows(series)]  # fmt: skip
    late = series.values["hang that prints ended after, defaults"]
    words = f"{statistics.median(late):.0f} min (median; longest {max(late):.0f} min)"
    lines += ["", f"A hang that goes on printing is ended after {words} by the automatic `progress`."]
    lines += ["", "| recorded program | longest silence | the defaults end it from … times the work |", "|---|---|---|"]
    for cadence in cadences():
        times = [0.0, *(t for t, _, _ in cadence.rows), cadence.seconds]
        gap = max(later - earlier for earlier, later in pairwise(times))
        factor = stretch(cadence)
        words = f"{factor}" if factor is not None else f"not up to {FURTHEST}"
        lines.append(f"| {cadence.name} ({cadence.seconds:.0f} s) | {gap:.1f} s | {words} |")
    return "\n".join(lines)


def plot(series: Series) -> str:
    """False kills (bars) and the median latency (line, logarithmic) by setting."""
    found, width, height = rows(series), 56, 180
    highest = max(kills for _, kills, _, _, _ in found) or 1
    parts, points = [], []
    for at, (name, kills, _, middle, _) in enumerate(found):
        x, tall = 40 + at * width, height * kills / highest
        parts.append(f'<rect x="{x}" y="{20 + height - tall:.0f}" width="30" height="{tall:.0f}" fill="#c0504d"/>')
        parts.append(f'<text x="{x + 15}" y="{14 + height - tall:.0f}" text-anchor="middle">{kills}</text>')
        parts.append(f'<text x="{x + 15}" y="{height + 38}" text-anchor="middle">{name}</text>')
        share = min(1.0, max(0.0, (middle * 60) ** 0.25 / 7200**0.25))
        points.append((x + 15, 20 + height - height * share))
        parts.append(
            f'<text x="{x + 15}" y="{height + 54}" text-anchor="middle" fill="#1f4e79">{middle:.1f} min</text>'
        )
    line = " ".join(f"{x},{y:.0f}" for x, y in points)
    total = 60 + len(found) * width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height + 66}" font-family="sans-serif" '
        f'font-size="11">\n<title>Healthy runs ended (bars) and minutes until a silent hang is ended (line), by '
        f'heartbeat</title>\n' + "\n".join(parts)
        + f'\n<polyline points="{line}" fill="none" stroke="#1f4e79" stroke-width="2"/>\n</svg>\n'
    )  # fmt: skip


def main() -> int:
    """Measure, and write the page's figures where asked."""
    series = Series("false_kills")
    budget = measure(series, quick=False)[0]
    text = markdown(series)
    sys.stdout.write(text + "\n")
    if "--docs" in sys.argv[1:]:
        page = DOCS / "life-and-progress.md"
        begin, end = "<!-- figures: benchmarks/false_kills.py --docs -->", "<!-- end of figures -->"
        words = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{text}\n{end}", page.read_text(), flags=re.DOTALL)
        page.write_text(words)
        (DOCS / "false-kills.svg").write_text(plot(series))
    return 0 if budget.kept else 1


if __name__ == "__main__":
    sys.exit(main())
