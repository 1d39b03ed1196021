"""The NDAttributes that a plug-in adds to the frames that it puts out: constants, and its own parameters.

PARAM attributes name parameters of the plug-in as in ADCore, for example `TOTAL` of NDPluginStats. EPICS_PV
attributes are the detector's: `cam1:NDAttributesFile`.
"""

from collections.abc import Callable

from ioc.channels.attributes_file import xml_of
from ioc.core.errors import mismatch
from ioc.core.frame import Attribute
from ioc.core.nd_attributes import (
    AttributesError,
    Definition,
    MacroError,
    Origin,
    parse,
    types_note,
)
from ioc.records.areadetector import ATTRIBUTE_STATES

FILE_OK, NOT_FOUND, BAD_XML, BAD_MACRO = ATTRIBUTE_STATES


class PluginAttributes:
    """What is put on every frame of a plug-in; `status` is that of `NDAttributesStatus`, `message` says why."""

    def __init__(self) -> None:
        self.status = FILE_OK
        self.message = ""
        self._definitions: tuple[Definition, ...] = ()
        self._note: dict[str, Attribute] = {}

    def read(self, file: str, macros: str) -> None:
        """Take the attributes of an XML file, or of the XML text itself; of an empty one, none."""
        self.status, self.message, self._definitions, self._note = FILE_OK, "", (), {}
        try:
            self._definitions = _own(parse(xml_of(file), macros)) if file.strip() else ()
            self._note = types_note(self._definitions)
        except OSError as error:
            self.status, self.message = NOT_FOUND, f"NDAttributesFile: {file}: {error.strerror}"
        except MacroError as error:
            self.status, self.message = BAD_MACRO, str(error)
        except (AttributesError, UnicodeDecodeError) as error:
            self.status, self.message = BAD_XML, str(error)

    def of(self, parameter: Callable[[str], Attribute | None]) -> dict[str, Attribute]:
        """Return the attributes, with the values that `parameter` has for the names of ADCore; None: left out."""
        found: dict[str, Attribute] = dict(self._note)
        for one in self._definitions:
            value = one.constant if one.origin is Origin.CONST else parameter(one.source.upper())
            if value is not None:
                found[one.name] = value
        return found


def _own(definitions: tuple[Definition, ...]) -> tuple[Definition, ...]:
    for one in definitions:
        if one.origin is Origin.PV:
            expected = f"{Origin.CONST.value} or {Origin.PARAM.value}"
            raise AttributesError(
                mismatch(f"attribute {one.name}, type", expected, one.origin.value, "put it to cam1:NDAttributesFile")
            )
    return definitions
