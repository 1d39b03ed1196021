"""A process of an appliance is started as `python -m` starts it, and looks for garbage once it is settled."""

import subprocess
import sys
from pathlib import Path

MODULE = """
import gc
import sys

from ioc.start import settled

print(__name__, sys.argv[1:], gc.isenabled(), gc.get_freeze_count())
settled()
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""


def test_a_module_is_run_and_garbage_is_looked_for_once_it_is_settled(tmp_path: Path) -> None:
    (tmp_path / "begun.py").write_text(MODULE)
    code = f"import sys; sys.path.append({str(tmp_path)!r}); sys.argv[1:] = ['begun', '--lock', '3']; "
    command = [sys.executable, "-P", "-c", code + "from ioc.start import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["__main__ ['--lock', '3'] False 0", "True True"]
