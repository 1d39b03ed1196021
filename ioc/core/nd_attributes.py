"""NDAttributes as areaDetector configures them: XML text in, definitions out, or one error. Pure.

    <Attributes>
      <Attribute name="Sample" type="CONST" source="gold" datatype="STRING" description="..."/>
      <Attribute name="Ring" type="EPICS_PV" source="S:SRcurrentAI"/>
      <Attribute name="Exposure" type="PARAM" source="ACQ_TIME" datatype="DOUBLE"/>
    </Attributes>

Source: areaDetector, ADCore documentation, NDArray attributes. Type FUNCTION names C code of an IOC: it is refused.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from ioc.core.attribute_types import DATATYPES, DBR_TYPES, note
from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Attribute

LONGEST_TEXT = 65_536
"""Characters of a description."""
MOST_ATTRIBUTES = 256
_MACRO = re.compile(r"\$[({](\w+)(?:=([^)}]*))?[)}]")


class Origin(Enum):
    """Where the value of an attribute comes from; the value is the word of the XML."""

    PV = "EPICS_PV"
    PARAM = "PARAM"
    CONST = "CONST"


@dataclass(frozen=True, slots=True)
class Definition:
    """One attribute: its name, where its value comes from, and for a constant the value."""

    name: str
    origin: Origin
    source: str
    description: str = ""
    constant: Attribute = ""
    type: str = ""
    """NumPy's, of the values in files; "": that of the first value."""


class AttributesError(UserError):
    """The XML cannot be used."""


class MacroError(AttributesError):
    """A macro of the XML has no value."""


def is_text(value: str) -> bool:
    """Return whether what was put to NDAttributesFile is the XML itself, not the name of a file."""
    return "<Attributes" in value


def parse(text: str, macros: str = "") -> tuple[Definition, ...]:
    """Return the attributes that an XML text defines, with `$(NAME)` replaced by `macros`, "NAME=VALUE,...".

    Raises:
        MacroError: a macro has neither a value nor a default.
        AttributesError: not the XML described above.
    """
    if len(text) > LONGEST_TEXT:
        raise AttributesError(mismatch("NDAttributesFile", f"at most {LONGEST_TEXT} characters", len(text)))
    if "<!" in text.replace("<!--", ""):
        raise AttributesError(mismatch("NDAttributesFile", "XML without declarations", "<!..."))
    try:
        root = ElementTree.fromstring(_expanded(text, _macros(macros)))
    except ElementTree.ParseError as error:
        raise AttributesError(f"NDAttributesFile: expected XML, found: {error}") from None
    if root.tag != "Attributes":
        raise AttributesError(mismatch("NDAttributesFile", "<Attributes>", f"<{root.tag}>"))
    elements = root.findall("Attribute")
    if len(elements) > MOST_ATTRIBUTES:
        raise AttributesError(mismatch("NDAttributesFile", f"at most {MOST_ATTRIBUTES} attributes", len(elements)))
    return tuple(_definition(element.attrib) for element in elements)


def _definition(given: Mapping[str, str]) -> Definition:
    name, source = given.get("name", ""), given.get("source", "")
    if not name or not source:
        raise AttributesError(mismatch("NDAttributesFile", "an Attribute with name and source", dict(given)))
    try:
        origin = Origin(given.get("type", Origin.PV.value).upper())
    except ValueError:
        known = ", ".join(one.value for one in Origin)
        raise AttributesError(mismatch(f"attribute {name}, type", known, given.get("type"))) from None
    constant = _constant(name, source, given.get("datatype", "STRING")) if origin is Origin.CONST else ""
    return Definition(name, origin, source, given.get("description", ""), constant, _type(origin, given))


def _type(origin: Origin, given: Mapping[str, str]) -> str:
    if origin is Origin.PV:
        return DBR_TYPES.get(given.get("dbrtype", "").upper(), "")
    return DATATYPES.get(given.get("datatype", "STRING" if origin is Origin.CONST else "").upper(), "")


def types_note(definitions: Iterable[Definition]) -> dict[str, Attribute]:
    """Return the attribute that says of which type those are that say so."""
    return note({one.name: one.type for one in definitions if one.type})


def _constant(name: str, source: str, datatype: str) -> Attribute:
    try:
        if datatype.upper() in ("INT", "INT64"):
            return int(source)
        return float(source) if datatype.upper() == "DOUBLE" else source
    except ValueError:
        raise AttributesError(mismatch(f"attribute {name}", f"a value of type {datatype}", source)) from None


def _macros(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _expanded(text: str, macros: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        given = macros.get(name, default)
        if given is None:
            raise MacroError(mismatch("NDAttributesMacros", f"a value of {name}", ", ".join(macros) or "none"))
        return given

    return _MACRO.sub(value, text)
