"""The records that say what a process takes up of the machine, its children included."""

from ioc.records.table import Kind, Record, Severity

LEVELS = ("OK", "High", "Over")
LEVEL_SEVERITIES = (Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR)
COUNT, FLOAT, ENUM = Kind.COUNT, Kind.FLOAT, Kind.ENUM

USAGE = (
    Record("RSS", COUNT, "Memory in RAM, frames included", unit="byte"),
    Record("PSS", COUNT, "The same, shared memory by parts", unit="byte"),
    Record("PrivateMemory", COUNT, "Memory of its own, without frames", unit="byte"),
    Record("PrivateLimit", COUNT, "Where it is started anew, 0: none", unit="byte"),
    Record("MemoryState", ENUM, "Own memory against its limit", choices=LEVELS, severities=LEVEL_SEVERITIES),
    Record("CPU", FLOAT, "Processor time, 100: one core", unit="%", precision=1),
    Record("CPULimit", FLOAT, "What it is to keep to, 0: none", unit="%", precision=1),
    Record("CPUState", ENUM, "Processor time against its limit", choices=LEVELS, severities=LEVEL_SEVERITIES),
)
