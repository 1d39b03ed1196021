"""NDAttributes: XML text, what it may say, and what becomes of it on a frame."""

from pathlib import Path

import pytest

from detector_sim.acquisition import Acquisition
from detector_sim.attributes import BAD_MACRO, BAD_XML, FILE_OK, NOT_FOUND, FrameAttributes
from ioc.core.attribute_types import without_types
from ioc.core.clock import VirtualClock
from ioc.core.config_detector import DetectorConfig
from ioc.core.nd_attributes import AttributesError, Definition, MacroError, Origin, parse

XML = """
<Attributes>
  <!-- what the sample is -->
  <Attribute name="Sample" type="CONST" source="$(WHAT=gold)" description="of today"/>
  <Attribute name="Energy" type="CONST" source="12.5" datatype="DOUBLE"/>
  <Attribute name="Ring" source="S:Current" dbrtype="DBR_DOUBLE"/>
  <Attribute name="Exposure" type="PARAM" source="ACQ_TIME" datatype="DOUBLE"/>
  <Attribute name="Number" type="PARAM" source="ARRAY_COUNTER" datatype="INT"/>
  <Attribute name="Unknown" type="PARAM" source="NO_SUCH" datatype="INT"/>
</Attributes>
"""


def attributes() -> FrameAttributes:
    acquisition = Acquisition(DetectorConfig(), VirtualClock())
    acquisition.array_counter = 41
    return FrameAttributes(acquisition, {"AcquireTime": 0.25}.__getitem__)


def test_definitions_are_parsed() -> None:
    sample, energy, ring, exposure, *_ = parse(XML)
    assert sample == Definition("Sample", Origin.CONST, "gold", "of today", "gold", "S")
    assert (energy.constant, ring.origin, exposure.source) == (12.5, Origin.PV, "ACQ_TIME")


def test_types_are_those_of_areadetectors_file_writer() -> None:
    types = {one.name: one.type for one in parse(XML)}
    assert types == {"Sample": "S", "Energy": "f8", "Ring": "f8", "Exposure": "f8", "Number": "i4", "Unknown": "i4"}


def test_macros_are_replaced() -> None:
    assert parse(XML, "WHAT=lead, OTHER=1")[0].constant == "lead"
    with pytest.raises(MacroError, match="WHERE"):
        parse(XML.replace("$(WHAT=gold)", "$(WHERE)"), "WHAT=lead")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Attributes><Attribute", "expected XML"),
        ("<Other/>", "<Attributes>"),
        ("<Attributes><Attribute name='A'/></Attributes>", "with name and source"),
        ("<Attributes><Attribute name='A' source='f' type='FUNCTION'/></Attributes>", "EPICS_PV, PARAM, CONST"),
        ("<Attributes><Attribute name='A' source='x' type='CONST' datatype='INT'/></Attributes>", "type INT"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><Attributes/>", "without declarations"),
        ("<Attributes>" + "<Attribute name='A' source='B'/>" * 257 + "</Attributes>", "at most 256"),
        ("x" * 70_000, "at most 65536"),
    ],
)
def test_what_cannot_be_used_is_explained(text: str, message: str) -> None:
    with pytest.raises(AttributesError, match=message):
        parse(text)


def test_constants_and_parameters_are_on_the_frame() -> None:
    one = attributes()
    one.read("<Attributes>" + XML.partition("<Attributes>")[2].replace("S:Current", "") + "", "")
    assert one.status == BAD_XML, "an attribute without a source"
    one.read("\n".join(line for line in XML.splitlines() if "Ring" not in line), "")
    assert one.status == FILE_OK and one.any
    assert without_types(one.of(7, 0)) == {"Sample": "gold", "Energy": 12.5, "Exposure": 0.25, "Number": 42}
    one.read("", "")
    assert not one.any and not one.of(8, 0)


def test_a_file_is_read_and_what_is_wrong_with_it_is_a_status(tmp_path: Path) -> None:
    file = tmp_path / "attributes.xml"
    one = attributes()
    one.read(str(file), "")
    assert one.status == NOT_FOUND and str(file) in one.message
    file.write_text("<Attributes><Attribute name='A' type='CONST' source='$(B)'/></Attributes>")
    one.read(str(file), "")
    assert one.status == BAD_MACRO
    one.read(str(file), "B=yes")
    assert (one.status, without_types(one.of(1, 0))) == (FILE_OK, {"A": "yes"})
    file.write_bytes(b"\xff\xfe\x00")
    one.read(str(file), "")
    assert one.status == BAD_XML and not one.any
