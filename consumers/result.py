"""What a processor may put out: frames that every channel can carry; anything else is refused before it goes anywhere.

A frame that is passed on as it came in is not looked at again.
"""

from collections.abc import Mapping, Sequence

import cbor2
import numpy as np

from ioc.channels.local_wire import MOST_ATTRIBUTE_BYTES
from ioc.core.codec import check_attributes
from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Attribute, DataType, Frame

_TYPES = frozenset(kind.dtype for kind in DataType)
_MOST = (1 << 63) - 1


def check_result(put_out: Sequence[Frame], given: Sequence[Frame], largest: int | None) -> None:
    """Refuse frames that cannot be passed on; `given` is what came in, `largest` the bytes of data that have room.

    Raises:
        UserError: says which frame, what was expected and found.
    """
    if len(put_out) == 1 and given and put_out[0] is given[0]:  # the one case that has to be quick
        return
    for one in put_out:
        if not any(one is frame for frame in given):
            _check(one, given, largest)


def _check(frame: Frame, given: Sequence[Frame], largest: int | None) -> None:
    for name, value in (("series", frame.series), ("unique_id", frame.unique_id), ("timestamp_ns", frame.timestamp_ns)):
        if type(value) is not int or not 0 <= value <= _MOST:
            raise UserError(mismatch(f"result of process, {name}", f"an int of 0 to {_MOST}", value))
    where = f"result of process, frame {frame.unique_id}"
    data = frame.data
    if not isinstance(data, np.ndarray):
        raise UserError(mismatch(f"{where}, data", "a NumPy array", type(data).__name__))
    if data.dtype not in _TYPES:
        known = ", ".join(sorted(str(kind) for kind in _TYPES))
        raise UserError(mismatch(f"{where}, data", f"one of {known}", str(data.dtype), "use data.astype(...)"))
    if data.ndim not in (2, 3) or data.size == 0 or data.shape[2:] not in ((), (3,)):
        raise UserError(mismatch(f"{where}, data", "shape [y, x] or [y, x, 3] with pixels", data.shape))
    if largest is not None and data.nbytes > largest:
        expected = f"at most {largest} bytes"
        raise UserError(mismatch(f"{where}, data", expected, data.nbytes, "raise memory_budget, or cut the frame"))
    if frame.attributes and not any(frame.attributes is one.attributes for one in given):
        frame.attributes = _plain_attributes(where, frame.attributes)


def _plain_attributes(where: str, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return attributes with NumPy's scalars as Python's."""
    if not isinstance(attributes, Mapping):
        raise UserError(mismatch(f"{where}, attributes", "a mapping", type(attributes).__name__))
    plain = {name: one.item() if isinstance(one, np.generic) else one for name, one in attributes.items()}
    check_attributes(plain, UserError)
    size = len(cbor2.dumps(plain))
    if size > MOST_ATTRIBUTE_BYTES:
        raise UserError(mismatch(f"{where}, attributes", f"at most {MOST_ATTRIBUTE_BYTES} bytes", size, "send fewer"))
    return plain
