"""Writing campaign files and reading their faults."""

from pathlib import Path
from typing import Any

import pytest
from manifest_reading import Faults, Launch

from overnight.manifest import read_campaign
from overnight.model.manifest import Fault, Frozen, Refusal


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Read a campaign from the text of a file and of the CSV beside it."""

    def read(text: str | None = None, csv: str | bytes | None = None, **options: Any) -> Frozen:
        file = None
        if text is not None:
            file = Path("sweep.toml")
            (tmp_path / file).write_text(text)
        if csv is not None:
            (tmp_path / "rows.csv").write_bytes(csv.encode() if isinstance(csv, str) else csv)
        options.setdefault("cwd", tmp_path)
        if file is None and csv is not None:
            options.setdefault("runs", Path("rows.csv"))
        return read_campaign(file, **options)

    return read


@pytest.fixture
def faults_of(launch: Launch) -> Faults:
    """The faults of what `launch` would read."""

    def read(*args: Any, **options: Any) -> tuple[Fault, ...]:
        with pytest.raises(Refusal) as refused:
            launch(*args, **options)
        assert refused.value.hint
        return refused.value.faults

    return read
