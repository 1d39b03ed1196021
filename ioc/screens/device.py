"""A device of the record tables as a screen sees it: which PVs it has, by the names that the tables give them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ioc.core.errors import ConfigError, mismatch
from ioc.records.table import Record


@dataclass(frozen=True, slots=True)
class Device:
    """Records by their names within the device, and what comes before these names: `$(P)$(R)`, for example.

    `example` is what R may be, for example `cam1:`.
    """

    records: Mapping[str, Record]
    at: str
    example: str

    def record(self, name: str) -> Record:
        """Return a record.

        Raises:
            ConfigError: the tables have none of this name; a screen cannot be made of it.
        """
        if name not in self.records:
            raise ConfigError(mismatch(f"screen of {self.example or 'the appliance'}", "a record of the tables", name))
        return self.records[name]

    def asked(self, name: str) -> str:
        """Return the PV that is put to.

        Raises:
            ConfigError: there is none.
        """
        demand = self.record(name).demand
        if demand is None:
            raise ConfigError(mismatch(f"screen of {self.example}", "a record that can be put to", name))
        return self.at + demand

    def shown(self, name: str) -> str:
        """Return the PV that shows what is in effect; that which is put to, if there is no other."""
        record = self.record(name)
        return self.at + (record.readback or record.busy or record.name)


def device(records: Iterable[Record], example: str, at: str = "$(P)$(R)") -> Device:
    """Return the device `example` of the tables: its records are those whose names begin so."""
    short = [replace(one, name=one.name.removeprefix(example)) for one in records if one.name.startswith(example)]
    return Device({one.name: one for one in short}, at, example)


def words(name: str) -> str:
    """Return a record's name as words: `AcquireTime` is Acquire time, `LatencyP99` Latency P99."""
    name = name.rpartition(":")[2]
    parts: list[str] = []
    for at, letter in enumerate(name):
        before, after = name[at - 1 : at], name[at + 1 : at + 2]
        begins = letter.isupper() and (before.islower() or before.isdigit() or (before.isupper() and after.islower()))
        if begins or not parts:
            parts.append(letter)
        else:
            parts[-1] += letter
    return " ".join([parts[0], *(part if part.isupper() else part.lower() for part in parts[1:])])
