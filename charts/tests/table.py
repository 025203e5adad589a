"""The table of values in README.md, made of values.yaml and the `# --` comments in it: `python charts/tests/table.py`."""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parents[1] / "headgate"
START, END = "<!-- values: made by charts/tests/table.py -->\n", "<!-- end of values -->\n"


def rows(text):
    """(path, default, description) of every value that has a `# --` comment."""
    values, found, comment, trail = yaml.safe_load(text), [], None, []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if said := re.match(r"\s*# -- (.*)", line):
            comment = said.group(1)
        elif comment is not None and (more := re.match(r"\s*# (.*)", line)):
            comment += " " + more.group(1)
        elif key := re.match(r"\s*([A-Za-z_][\w./-]*):", line):
            trail = [(at, name) for at, name in trail if at < indent] + [(indent, key.group(1))]
            if comment is not None:
                path = [name for _, name in trail]
                found.append((".".join(path), value_at(values, path), comment))
            comment = None
    return found


def value_at(values, path):
    for name in path:
        values = values[name]
    return values


def table(text):
    lines = ["| value | default | what |", "|---|---|---|"]
    for path, value, description in rows(text):
        shown = json.dumps(value) if not (isinstance(value, dict) and value) else None
        if shown is None or len(shown) > 80:
            shown = "see values.yaml"
        else:
            shown = f"`{shown}`"
        lines.append("| `{}` | {} | {} |".format(path, shown, description.replace("|", "\\|")))
    return "\n".join(lines) + "\n"


def readme():
    """README.md as it should be."""
    before, _, rest = (CHART / "README.md").read_text().partition(START)
    _, _, after = rest.partition(END)
    return before + START + "\n" + table((CHART / "values.yaml").read_text()) + "\n" + END + after


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
    sys.exit(0)
