"""The panel of a processor for Phoebus: `rayfan processor screen NAME` writes it for processors of one's own."""

import re
from pathlib import Path

from consumers.loading import load_processor
from consumers.records import consumer_records
from ioc.core.errors import UserError
from ioc.screens.consumer_pages import processor_panel


def panel_name(reference: str) -> str:
    """Return what a panel is called, as ops/phoebus/processor.py does: Threshold for `a/threshold.py:Threshold`."""
    return re.sub("[^A-Za-z0-9_]", "", re.split("[:/]", reference)[-1])


def write_panel(reference: str, folder: Path) -> Path:
    """Write the panel of a processor, with its settings and statistics; return the file.

    Raises:
        ConfigError: there is no such processor.
        UserError: the file cannot be written.
    """
    kind = load_processor(reference)
    table = consumer_records("Cons1", kind.declared_settings, kind.declared_statistics)
    screen = processor_panel(panel_name(reference), table)
    path = folder / screen.file
    try:
        path.write_text(screen.text(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose another folder") from None
    return path
