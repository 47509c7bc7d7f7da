"""Named SQL: statements live in `sql/`, each below a line `-- name: x`."""

import os


def load(name: str) -> dict[str, str]:
    """The statements of `sql/<name>.sql` by their names. Other comment lines are left out."""
    with open(os.path.join(os.path.dirname(__file__), "sql", f"{name}.sql"), encoding="utf-8") as file:
        statements: dict[str, list[str]] = {}
        current: list[str] = []
        for line in file:
            if line.startswith("-- name: "):
                current = statements.setdefault(line.removeprefix("-- name: ").strip(), [])
            elif not line.startswith("--"):
                current.append(line)
    return {key: "".join(lines).strip() for key, lines in statements.items()}
