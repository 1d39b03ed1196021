"""The union `value` of an NTNDArray: which member holds pixels of which type (EPICS normative types, NTNDArray)."""

from ioc.core.frame import DataType

UNION = {
    DataType.INT8: ("byteValue", 1),
    DataType.INT16: ("shortValue", 2),
    DataType.INT32: ("intValue", 3),
    DataType.INT64: ("longValue", 4),
    DataType.UINT8: ("ubyteValue", 5),
    DataType.UINT16: ("ushortValue", 6),
    DataType.UINT32: ("uintValue", 7),
    DataType.UINT64: ("ulongValue", 8),
    DataType.FLOAT32: ("floatValue", 9),
    DataType.FLOAT64: ("doubleValue", 10),
}
"""Member and pvData scalar code (`codec.parameters`, PvaPy's ScalarType) of each data type."""
BY_CODE = {code: data_type for data_type, (_, code) in UNION.items()}
