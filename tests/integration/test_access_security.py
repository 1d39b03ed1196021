"""Image channels under the access security file of the records, evaluated by EPICS itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.epics import isolated_environment

RULES = """
UAG(operators) { opr }
UAG(staff)     { "role/root" }
HAG(here)      { "10.0.0.7", "ws1" }
ASG(DEFAULT)   { RULE(1, READ) }
ASG(IMAGES)    {
    RULE(0, READ) { UAG(operators) }
    RULE(1, READ) { HAG(here) }
    RULE(1, WRITE) { UAG(staff) }
}
"""
CODE = """
import json, sys
from epicscorelibs.ioc import Com
from ioc.records.access_security import hosts_of, may_read, users_of
def asked(group):
    return [may_read(group, users_of(*who), hosts_of(*where)) for who, where in json.loads(sys.argv[2])]
before = asked(b"IMAGES")
assert Com.asInitFile(sys.argv[1].encode(), None) == 0
print(json.dumps([before, asked(b"IMAGES"), asked(b"OTHER")]))
"""
CASES = (
    ((("ca", "opr"), ("10.0.0.1", "")), True),
    ((("ca", "site/opr"), ("10.0.0.1", "")), True),
    ((("ca", "guest"), ("10.0.0.1", "")), False),
    ((("anonymous", ""), ("10.0.0.1", "")), False),
    ((("anonymous", "opr"), ("10.0.0.1", "")), False),
    ((("anonymous", ""), ("10.0.0.7", "")), True),
    ((("ca", "guest"), ("10.0.0.1", "WS1")), True),
    ((("ca", "root"), ("10.0.0.1", "")), True),  # who may write may read
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[bool]]:
    """What EPICS says before the file is loaded, of a group that is in it, and of one that is not."""
    rules: Path = tmp_path_factory.mktemp("rules") / "images.acf"
    rules.write_text(RULES)
    asked = json.dumps([case for case, _ in CASES])
    command = [sys.executable, "-c", CODE, str(rules), asked]
    done = subprocess.run(command, env=isolated_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_rules_everybody_reads(answers: list[list[bool]]) -> None:
    assert answers[0] == [True] * len(CASES)


def test_the_group_of_images_decides(answers: list[list[bool]]) -> None:
    assert answers[1] == [expected for _, expected in CASES]


def test_a_group_that_is_not_in_the_file_is_default(answers: list[list[bool]]) -> None:
    assert answers[2] == [True] * len(CASES)
