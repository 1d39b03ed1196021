"""The XML of NDAttributes as a record names it: a file, or the text itself."""

from pathlib import Path

from ioc.core.nd_attributes import LONGEST_TEXT, is_text


def xml_of(file: str) -> str:
    """Return the XML; of a file one character more than it may have at most, so that a longer one is refused.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is no text.
    """
    if is_text(file):
        return file
    with Path(file).expanduser().open(encoding="utf-8") as opened:
        return opened.read(LONGEST_TEXT + 1)
