"""The campaign of random faults against a chain: two groups, a collector and a group behind it.

python -m tests.campaigns.chains [--faults 60] ...      as tests.campaigns.faults
"""

import sys

from tests.campaigns import faults

CONFIG = """
[detector]
frame_rate = 500.0
size = [64, 64]
[groups.first]
count = 2
processor = "passthrough"
[groups.second]
input = "groups.first"
count = 2
processor = "statistics"
[collectors.all]
input = "groups.first"
wait = 4.0
[groups.last]
input = "collectors.all"
policy = "bounded"
processor = "passthrough"
"""
NAMES = ("detector", "Cons1", "Cons2", "Cons3", "Cons4", "Cons5", "Coll1")

if __name__ == "__main__":
    faults.CONFIG, faults.NAMES = CONFIG, NAMES
    sys.exit(faults.main())
