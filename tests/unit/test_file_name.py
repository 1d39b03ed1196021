"""File names from templates, and the folders that are made for them."""

import pytest

from ioc.core.errors import RefusedError
from ioc.core.file_name import folders_to_make, full_name, with_slash


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%s%s_%3.3d.h5", "/data/scan_007.h5"),
        ("%s%s.h5", "/data/scan.h5"),
        ("%s%s_%6.6d.h5", "/data/scan_000007.h5"),
        ("%s100%%_%s%d", "/data/100%_scan7"),
        ("%sfixed.h5", "/data/fixed.h5"),
        ("/else/fixed.h5", "/else/fixed.h5"),
    ],
)
def test_a_template_is_a_c_format(template: str, expected: str) -> None:
    assert full_name(template, "/data/", "scan", 7) == expected


@pytest.mark.parametrize("template", ["%d%s", "%s%s%s", "%s%s%d%d", "%n", "%s%*d", "%", "%s%99999d", "%s" + "x" * 600])
def test_what_is_none_is_refused(template: str) -> None:
    with pytest.raises(RefusedError, match=r"FileTemplate|file name"):
        full_name(template, "/data/", "scan", 7)


@pytest.mark.parametrize(
    ("depth", "made"),
    [
        (0, []),
        (1, ["/a/b", "/a/b/c"]),
        (2, ["/a/b/c"]),
        (9, []),
        (-1, ["/a/b/c"]),
        (-2, ["/a/b", "/a/b/c"]),
        (-9, ["/a", "/a/b", "/a/b/c"]),
    ],
)
def test_folders_are_made_as_far_as_allowed(depth: int, made: list[str]) -> None:
    assert [str(one) for one in folders_to_make("/a/b/c/", depth)] == made


def test_a_path_ends_in_a_slash() -> None:
    assert [with_slash(path) for path in ("", "/a", "/a/")] == ["", "/a/", "/a/"]
