"""The NDAttributes of a detector's frames: constants, values of PVs, and the detector's own parameters.

Rules: what `NDAttributesFile` says is read when it, or `NDAttributesMacros`, is put; if it cannot be used, frames
have no such attributes and `NDAttributesStatus` says why. A PV without a value, and a parameter that is not known,
leave their attribute out. PVs are taken over pvAccess.
"""

import logging
from collections.abc import Callable, Mapping

from detector_sim.acquisition import Acquisition
from ioc.channels.attributes_file import xml_of
from ioc.channels.pva_scalars import ScalarMonitors
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
from ioc.records.table import Value

log = logging.getLogger(__name__)

FILE_OK, NOT_FOUND, BAD_XML, BAD_MACRO = ATTRIBUTE_STATES
RECORDS = {
    "ACQ_TIME": "AcquireTime",
    "ACQ_PERIOD": "AcquirePeriod",
    "ACQUIRE": "Acquire",
    "BIN_X": "BinX",
    "BIN_Y": "BinY",
    "MIN_X": "MinX",
    "MIN_Y": "MinY",
    "SIZE_X": "SizeX",
    "SIZE_Y": "SizeY",
    "REVERSE_X": "ReverseX",
    "REVERSE_Y": "ReverseY",
    "MAX_SIZE_X": "MaxSizeX",
    "MAX_SIZE_Y": "MaxSizeY",
    "ARRAY_SIZE_X": "ArraySizeX",
    "ARRAY_SIZE_Y": "ArraySizeY",
    "DATA_TYPE": "DataType",
    "COLOR_MODE": "ColorMode",
    "GAIN": "Gain",
    "IMAGE_MODE": "ImageMode",
    "NIMAGES": "NumImages",
    "NEXPOSURES": "NumExposures",
    "TRIGGER_MODE": "TriggerMode",
    "FRAME_TYPE": "FrameType",
    "TEMPERATURE": "Temperature",
    "MANUFACTURER": "Manufacturer",
    "MODEL": "Model",
    "PORT_NAME_SELF": "PortName",
    "SIM_MODE": "SimMode",
}
"""Parameters of ADCore's drivers by the name that PARAM attributes give them, and the records that show them."""


class FrameAttributes:
    """What is put on every frame; `status` is that of `NDAttributesStatus`."""

    def __init__(self, acquisition: Acquisition, shown: Callable[[str], Value]) -> None:
        """Take parameters from `shown`, which returns what a record of the camera shows, by name without `_RBV`."""
        self._acquisition = acquisition
        self._shown = shown
        self._definitions: tuple[Definition, ...] = ()
        self._constants: dict[str, Attribute] = {}
        self._monitors: ScalarMonitors | None = None
        self.status = FILE_OK
        self.message = ""

    @property
    def any(self) -> bool:
        """Whether there are attributes at all."""
        return bool(self._definitions)

    def read(self, file: str, macros: str) -> None:
        """Take the attributes of an XML file, or of the XML text itself; of an empty one, none."""
        self.status, self.message = FILE_OK, ""
        definitions: tuple[Definition, ...] = ()
        try:
            definitions = parse(xml_of(file), macros) if file.strip() else ()
        except OSError as error:
            self.status, self.message = NOT_FOUND, f"NDAttributesFile: {file}: {error.strerror}"
        except MacroError as error:
            self.status, self.message = BAD_MACRO, str(error)
        except (AttributesError, UnicodeDecodeError) as error:
            self.status, self.message = BAD_XML, str(error)
        if self.message:
            log.warning("%s", self.message)
        self._take(definitions)

    def of(self, unique_id: int, ahead: int) -> Mapping[str, Attribute]:
        """Return the attributes of the frame `unique_id`, before which `ahead` others are to be published."""
        attributes = dict(self._constants)
        pvs = self._monitors.values() if self._monitors is not None else {}
        for one in self._definitions:
            if one.origin is Origin.PV and one.source in pvs:
                attributes[one.name] = pvs[one.source]
            elif one.origin is Origin.PARAM:
                value = self._parameter(one.source.upper(), unique_id, ahead)
                if value is not None:
                    attributes[one.name] = value
        return attributes

    def close(self) -> None:
        """Stop monitoring PVs."""
        self._take(())

    def _take(self, definitions: tuple[Definition, ...]) -> None:
        earlier = self._monitors
        pvs = [one.source for one in definitions if one.origin is Origin.PV]
        self._monitors = ScalarMonitors(pvs) if pvs else None
        constants = {one.name: one.constant for one in definitions if one.origin is Origin.CONST}
        self._constants = {**constants, **types_note(definitions)}
        self._definitions = definitions
        if earlier is not None:
            earlier.close()

    def _parameter(self, name: str, unique_id: int, ahead: int) -> Attribute | None:
        if name == "ARRAY_COUNTER":
            return self._acquisition.array_counter + 1 + ahead
        if name == "NIMAGES_COUNTER":
            return self._acquisition.images_counter + 1 + ahead
        if name == "UNIQUE_ID":
            return unique_id
        record = RECORDS.get(name)
        return self._shown(record) if record is not None else None
