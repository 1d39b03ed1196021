"""Colours, fonts and distances of the screens.

No colour here is one of an alarm: red, orange, yellow and violet come from the severities of records alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Color:
    """Red, green, blue: 0 to 255."""

    red: int
    green: int
    blue: int


@dataclass(frozen=True, slots=True)
class Font:
    """A font of Phoebus's own family."""

    size: int
    bold: bool = False


PAGE = Color(236, 240, 244)
CARD = Color(255, 255, 255)
LINE = Color(196, 206, 216)
HEAD = Color(31, 58, 89)
HEAD_TEXT = Color(255, 255, 255)
TEXT = Color(33, 43, 54)
LABEL = Color(84, 98, 112)
CARD_HEAD = Color(220, 228, 236)
VALUE = Color(245, 247, 250)
ENTRY = Color(224, 240, 255)
BUTTON = Color(210, 220, 230)
BAR = Color(70, 130, 180)
BAR_BACK = Color(226, 232, 238)
TRACES = (Color(31, 90, 160), Color(0, 128, 120), Color(70, 70, 80), Color(90, 150, 200))

SMALL = Font(12)
PLAIN = Font(13)
STRONG = Font(13, bold=True)
BIG = Font(18, bold=True)
TITLE = Font(20, bold=True)

GAP = 10
"""Pixels between cards."""
PAD = 8
"""Pixels between a card's edge and what is in it."""
SPACE = 6
"""Pixels between widgets of a row; alarm borders are drawn into it."""
ROW = 27
"""Pixels from row to row."""
TALL = 22
"""Pixels of a widget in a row."""
CARD_TITLE = 24
HEAD_HEIGHT = 44
CARD_WIDTH = 360
