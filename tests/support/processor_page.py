"""The reference page of the processors, made from what they declare."""

from typing import Any

from consumers.catalogue import description
from consumers.loading import EXTRAS, bundled

HEAD = """\
# Processors

Made from the declarations in `consumers/processors/` by `{command}`; do not edit.

Settings are `$(P)Cons1:Set:NAME`, statistics `$(P)Cons1:Stat:NAME_RBV`. `rayfan processor describe NAME` prints
the same. How to use them: [how-to](../how-to/use-the-processors.md).
"""


def processors_page(command: str) -> str:
    """Return docs/reference/processors.md."""
    return "\n".join([HEAD.format(command=command), *(_section(name) for name in bundled())])


def _section(name: str) -> str:
    found = description(name)
    extra = f" Needs `pip install 'rayfan[{EXTRAS[name]}]'`." if name in EXTRAS else ""
    lines = [f"## `{name}`\n\n{found['about']}{extra}\n"]
    if found["settings"]:
        lines.append("\n| setting | value | default | |\n| --- | --- | --- | --- |\n")
        for one in found["settings"]:
            default = f"`{one['default']!r}`".replace("'", '"')
            lines.append(f"| `{one['name']}` | {_values(one)} | {default} | {one['description']} |\n")
    if found["statistics"]:
        lines.append("\n| statistic | type | unit | |\n| --- | --- | --- | --- |\n")
        for one in found["statistics"]:
            lines.append(f"| `{one['name']}` | {one['type']} | {one['unit']} | {one['description']} |\n")
    return "".join(lines)


def _values(setting: dict[str, Any]) -> str:
    if setting["choices"]:
        return ", ".join(f"`{choice}`" for choice in setting["choices"])
    limits = [
        f"{sign} {limit:g}" for sign, limit in (("≥", setting["low"]), ("≤", setting["high"])) if limit is not None
    ]
    return " ".join(filter(None, (setting["type"], ", ".join(limits), setting["unit"])))
