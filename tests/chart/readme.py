"""Makes the table of values in the chart's README from the comments in values.yaml.

`readme.py` writes it, `readme.py --check` fails where it is not what it would write. A comment that begins with `# --`
describes the key below it; a key below which there are others needs none.
"""

import json
import pathlib
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parents[2] / "charts" / "toka-vault"
BEGIN = "<!-- values: made by tests/chart/readme.py -->"
END = "<!-- end of values -->"


def described(lines):
    """Pairs of path and description, in the order of the file."""
    path, text, rows = [], None, []
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("# -- "):
            text = stripped[5:]
        elif stripped.startswith("# ") and text is not None:
            text += " " + stripped[2:]
        elif stripped and not stripped.startswith(("#", "- ")) and ":" in stripped:
            depth = (len(line) - len(line.lstrip())) // 2
            path = path[:depth] + [stripped.split(":")[0]]
            if text is not None:
                rows.append((tuple(path), text))
                text = None
        else:
            text = None
    return rows


def value(values, path):
    for key in path:
        values = values[key]
    return values


def leaves(values, known, path=()):
    """Paths that need a description."""
    for key, below in values.items():
        here = (*path, key)
        if here not in known and isinstance(below, dict) and below:
            yield from leaves(below, known, here)
        else:
            yield here


def table():
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = described(text.splitlines())
    known = dict(rows)
    missing = [".".join(path) for path in leaves(values, known) if path not in known]
    if missing:
        sys.exit(f"values.yaml: without a comment that begins with `# --`: {', '.join(missing)}")
    lines = ["| value | default | what |", "|---|---|---|"]
    for path, what in rows:
        default = json.dumps(value(values, path), ensure_ascii=False)
        what = what.replace("|", "\\|")
        lines.append(f"| `{'.'.join(path)}` | `{default}` | {what} |")
    return "\n".join(lines)


def main():
    readme = CHART / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    made = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        readme.write_text(made)
    elif made != text:
        sys.exit("README.md of the chart is not up to date; run python3 tests/chart/readme.py")


if __name__ == "__main__":
    main()
