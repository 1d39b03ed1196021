"""A pattern for file names: `{series}_{id:06}.h5`, checked when it is set and filled in for each file."""

import re
from string import Formatter

from ioc.core.errors import RefusedError, mismatch

NUMBERS = ("series", "id", "last")
WORDS = ("name", "group")
_SPEC = re.compile(r"0?[1-9]?\d?d?")
LONGEST = 200


class FilePattern:
    """A checked pattern. Its fields: name (of the consumer), group, series, id (of the first frame), last."""

    def __init__(self, pattern: str, endings: tuple[str, ...]) -> None:
        """Check the pattern; the ending says the format.

        Raises:
            RefusedError: an unknown field or ending, a path that leaves the folder, or names that would not differ.
        """
        self._pattern = pattern
        self.ending = next((one for one in endings if pattern.lower().endswith(one)), "")
        if not self.ending:
            raise RefusedError(mismatch("setting Pattern", f"an ending of {', '.join(endings)}", pattern))
        if pattern.startswith("/") or ".." in pattern or "\0" in pattern or len(pattern) > LONGEST:
            raise RefusedError(mismatch("setting Pattern", "a name below the folder, without '..'", pattern))
        fields = self._fields()
        if not {"series", "id"} <= fields:
            raise RefusedError(mismatch("setting Pattern", "{series} and {id}, so that no two names are one", pattern))

    def filled(self, **values: int | str) -> str:
        """Return the name for these values, one for every field that there is."""
        return self._pattern.format(**values)

    def _fields(self) -> set[str]:
        fields: set[str] = set()
        try:
            parts = list(Formatter().parse(self._pattern))
        except ValueError as error:
            raise RefusedError(f"setting Pattern: {self._pattern!r}: {error}") from None
        for _, field, spec, conversion in parts:
            if field is None:
                continue
            allowed = (field in WORDS and not spec) or (field in NUMBERS and _SPEC.fullmatch(spec or ""))
            if not allowed or conversion:
                known = "{name}, {group}, {series}, {id}, {last}, numbers with a width as in {id:06}"
                raise RefusedError(mismatch("setting Pattern", known, f"{{{field}:{spec}}}"))
            fields.add(field)
        return fields
