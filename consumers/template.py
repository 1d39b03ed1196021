"""A new processor: a file that runs as it is, and a test of it that passes; both for their author to change."""

import re
from pathlib import Path

from ioc.core.errors import UserError, mismatch

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

PROCESSOR = '''\
"""Processor `{name}`: counts the pixels above a level. Change it to what you need.

Try it:  rayfan up --duration 10 --set groups.stats.processor={name}.py
Test it: python -m unittest test_{name}.py      (with the Python that runs rayfan)
"""

from consumers.processor import Processor, Setting, Statistic


class {title}(Processor):
    """Returns the frame as it came and reports how many of its pixels are above the level."""

    # each becomes a record that can be put to: RF:Cons1:Set:Level
    declared_settings = (Setting("Level", 100.0, unit="counts", low=0, description="Pixels above are hits"),)
    # each becomes a record to look at: RF:Cons1:Stat:Hits_RBV
    declared_statistics = (Statistic("Hits", int, unit="pixel", description="Pixels above Level"),)

    def start(self, context):
        """Load models, open files: what takes long or may fail. context.folder is a folder to write to."""

    def process(self, frame, metadata):
        """Return what to publish: a frame, a list of frames or None.

        frame.data is a NumPy array [y, x] in shared memory: read it, do not keep it, copy what you need later.
        """
        self.report(Hits=int((frame.data > self.settings["Level"]).sum()))
        return frame

    def stop(self):
        """Let go of what start took."""
'''

TEST = '''\
"""Test of {name}.py: needs no EPICS and no detector, only NumPy and rayfan."""

import unittest
from pathlib import Path

import numpy as np

from consumers.loading import load_processor
from consumers.processor import checked_settings
from ioc.core.frame import Frame

KIND = load_processor(str(Path(__file__).with_name("{name}.py")))


def processor(**settings):
    """Return a processor as a consumer makes it."""
    made = KIND()
    made.configure(checked_settings(KIND.declared_settings, settings))
    return made


class {title}Test(unittest.TestCase):
    def test_hits_are_counted(self):
        data = np.array([[50, 150], [250, 100]], np.uint16)
        counting = processor(Level=100)
        found = counting.process(Frame(series=1, unique_id=1, timestamp_ns=0, data=data), {{}})
        self.assertIs(found.data, data)
        self.assertEqual(counting.statistics(), {{"Hits": 2}})

    def test_a_level_below_zero_is_refused(self):
        with self.assertRaisesRegex(Exception, "setting Level: expected at least 0"):
            processor(Level=-1)


if __name__ == "__main__":
    unittest.main()
'''


def write_template(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a folder; return their paths.

    Raises:
        UserError: the name is none for a Python file, or one of the files is there already.
    """
    if not _NAME.fullmatch(name):
        expected = "small letters, digits and _, a letter first, at most 40"
        raise UserError(mismatch("name of the processor", expected, name))
    title = "".join(part.capitalize() for part in name.split("_"))
    paths = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in paths:
        if path.exists():
            raise UserError(mismatch(str(path), "no such file yet", "one", "choose another name or folder"))
    try:
        for path, text in zip(paths, (PROCESSOR, TEST), strict=True):
            path.write_text(text.format(name=name, title=title), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another folder") from None
    return paths
