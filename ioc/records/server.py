"""Serves the records of a process over Channel Access and pvAccess: one EPICS IOC in this process, once.

What clients see of a refused put; the record keeps its value in every case, and `on_refused` says why (measured with
softioc 4.7.2, pvxs 1.5 against libca, caproto and p4p; tests/integration/test_records.py):

    put                           refused by the table            refused by the owner
    Channel Access, plain         ECA_PUTFAIL, asynchronously     nothing
    Channel Access, callback      completes as if done            completes as if done, when the owner has refused
    pvAccess, plain               "Operation not permitted"       nothing
    pvAccess, block=true          completes as if done            completes as if done, when the owner has refused

pyepics does not report ECA_PUTFAIL, `caproto-put` does. A text that is no choice of an enum, and a put to a read-back
("Write access denied", "Put not permitted"), are errors in every protocol and mode. EPICS gives a put-callback no way
to carry an error of the record: whoever must know reads the record, or its `_RBV`, after the put.
"""

import ctypes
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epicscorelibs.ioc import Com, dbCore
from numpy.typing import NDArray
from softioc import builder, softioc

from ioc.core.errors import ConfigError, RayfanBug, RefusedError, mismatch
from ioc.core.status import ProcessSpec
from ioc.records.autosave import Autosave
from ioc.records.demand import BusyDemand, Demand, OnPut, OnRefused, Owner, PutQueue
from ioc.records.put_log import PutLog
from ioc.records.softioc_build import READ_ONLY_GROUP, Readback, protect_ioc_stats
from ioc.records.table import Kind, Record, Severity, Value, check_names

log = logging.getLogger(__name__)

DATABASES = Path(__file__).parents[2] / "db"
"""Where the templates and the access rules lie that come with Rayfan."""
PLUGIN_DATABASE = DATABASES / "plugin.template"
"""Loaded for everything that has the records of a plug-in."""
ACCESS_RULES = DATABASES / "rayfan.acf"
RESTORE_TIMEOUT = 30.0
"""s that an owner has for a value that is put again."""
STOP_TIMEOUT = 5.0
"""s that `stop` waits for the thread that hands puts over."""


@dataclass(frozen=True, slots=True)
class Template:
    """An EPICS database file that is loaded beside the tables, with its macros; P is always the prefix."""

    path: Path
    macros: Mapping[str, str]


def _nobody(_name: str, _message: str) -> None:
    """Tell nobody of a refused put; it is in the log."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server loads beside its tables, and whom it tells of refused puts.

    `on_refused(name, message)` runs in the thread of the put queue, or in the one that failed the put's future.
    `put_log` and `autosave` are files; `ioc_stats` is what the names of devIocStats' records begin with, behind the
    prefix.
    """

    templates: Sequence[Template] = ()
    access_rules: Path = ACCESS_RULES
    on_refused: OnRefused = _nobody
    put_log: Path | None = None
    autosave: Path | None = None
    ioc_stats: str | None = None

    @classmethod
    def of(
        cls, spec: ProcessSpec, templates: Sequence[Template] = (), on_refused: OnRefused = _nobody
    ) -> "ServerOptions":
        """Return the options of a process of an appliance."""
        config = spec.config
        return cls(
            templates=templates,
            access_rules=config.access_security or ACCESS_RULES,
            on_refused=on_refused,
            put_log=config.put_log or spec.run_dir / "puts",
            autosave=(config.autosave or spec.run_dir) / f"{spec.name}.autosave",
            ioc_stats=spec.name if config.ioc_stats else None,
        )


class RecordServer:
    """The records of one process; make and start it once."""

    _started = False

    def __init__(
        self, prefix: str, records: Sequence[Record], on_put: OnPut, options: ServerOptions | None = None
    ) -> None:
        """Keep what is to be served; nothing happens before `start`.

        `on_put(name, value)` gets the name without prefix and a checked value: float, int, bool, or str for choices
        and texts. It only hands the put to its owner and returns quickly: None if the put is done, otherwise a future
        that completes the put; a future failed with RefusedError takes the put back. It runs in the thread of the
        server's put queue, never in one of EPICS.

        Raises:
            ConfigError: a name is too long or used twice.
        """
        check_names(records, prefix)
        self.prefix = prefix
        self._records = records
        self._options = options or ServerOptions()
        self._puts = PutQueue()
        self._log = PutLog(self._options.put_log, prefix, records) if self._options.put_log else None
        self._autosave = Autosave(self._options.autosave) if self._options.autosave else None
        self._owner = Owner(on_put, self._refused, self._puts, self._accepted)
        self._demands: dict[str, Demand] = {}
        self._readbacks: dict[str, Readback] = {}
        self._shown: dict[str, Value] = {}

    def start(self) -> None:
        """Build the records, load templates and access rules, and begin to serve.

        Raises:
            ConfigError: a file is missing or unfit.
        """
        if RecordServer._started:
            raise RayfanBug("a process has one IOC; expected one RecordServer.start, found a second")
        RecordServer._started = True
        _check_files(self._options)
        with _quiet():
            self._build()
            self._load()
            self._puts.start()
            softioc.iocInit(self._puts)
            if self._options.ioc_stats is not None:
                protect_ioc_stats(self.prefix + self._options.ioc_stats)
        if self._log is not None:
            self._log.start()
        for record in self._records:
            for name in record.names:
                if name in self._readbacks and record.kind is not Kind.ARRAY:
                    self.set(name, record.start_value)

    def restore(self) -> None:
        """Hand what clients had put in an earlier life to the owner again; call it once the owner can take it.

        What stands in the demands now is what is configured. A value that the owner refuses is logged and forgotten.
        """
        if self._autosave is None:
            return
        kept = [demand for demand in self._demands.values() if demand.kept]
        for name, value in self._autosave.restorable({one.record.name: one.value for one in kept}).items():
            try:
                self._demands[name].put_again(value).result(RESTORE_TIMEOUT)
                log.info("%s: restored %r", name, value)
            except (RefusedError, TimeoutError) as error:
                log.warning("%s: %r is not restored: %s", name, value, error or "it took too long")
                self._autosave.drop(name)
        self._autosave.start()

    @property
    def names(self) -> frozenset[str]:
        """All names of the tables, without prefix."""
        return frozenset(self._demands) | frozenset(self._readbacks)

    def set(self, name: str, value: Value) -> None:
        """Write one record and post it before returning: successive values are all posted, never merged.

        Any thread may call. A demand that is set here is not handed back to `on_put`. Numbers that do not fit
        saturate, texts are cut.

        Raises:
            KeyError: there is no such record.
            ValueError: the text is no choice of the record.
        """
        demand = self._demands.get(name)
        if demand is not None:
            demand.set(value)
            return
        readback = self._readbacks[name]
        with readback.turn:  # else two threads could leave the record with one value and `_shown` with the other
            readback.put(value)
            self._shown[name] = value

    def set_many(self, values: Mapping[str, Value]) -> None:
        """Write those of the records whose value is not the one that they show."""
        shown = self._shown
        for name, value in values.items():
            if name in self._demands:
                if self._demands[name].value != value:
                    self.set(name, value)
            elif name not in shown or shown[name] != value:
                self.set(name, value)

    def set_array(self, name: str, values: NDArray) -> None:
        """Write an ARRAY record, one dimension, and post it before returning."""
        self._readbacks[name].put_array(values)

    def get(self, name: str) -> Value:
        """Return the value of a record: the last one set, or put and accepted."""
        demand = self._demands.get(name)
        return demand.value if demand is not None else self._shown[name]

    def follow(self, name: str, activity: "Future[Any]") -> None:
        """Show an activity that the owner began by itself on the BUSY record `name`; it ends with the future."""
        demand = self._demands[name]
        if not isinstance(demand, BusyDemand):
            raise RayfanBug(mismatch(f"record {name}", "a BUSY", demand.record.access.value))
        demand.follow(activity)

    def invalidate(self, names: Iterable[str]) -> None:
        """Put read-backs into alarm INVALID until their next value: what they show is not known any more."""
        for name in names:
            self._readbacks[name].invalidate()
            self._shown.pop(name, None)

    def finish(self) -> None:
        """Write what autosave and put log have not written yet; records are served on."""
        if self._autosave is not None:
            self._autosave.close()
        if self._log is not None:
            self._log.close()

    def stop(self) -> None:
        """Hand over the puts that wait, then stop serving; the process cannot serve again."""
        if not self._puts.stop(STOP_TIMEOUT):
            log.error("on_put did not return within %g s; its put is given up", STOP_TIMEOUT)
        self.finish()
        with _quiet():
            dbCore.iocShutdown()

    def _refused(self, name: str, message: str) -> None:
        if self._log is not None:
            self._log.refused(name, message)
        self._options.on_refused(name, message)

    def note_refusal(self, who: tuple[str, str], channel: str, why: str) -> None:
        """Have the put log say that user and host `who` tried to put to a channel that is no record."""
        if self._log is not None:
            self._log.refused_to(who, channel, why)

    def _accepted(self, name: str, value: Value) -> None:
        if self._autosave is not None:
            self._autosave.keep(name, value)

    def _build(self) -> None:
        for record in self._records:
            if record.readback is not None:
                self._readbacks[record.readback] = Readback(self.prefix + record.readback, record)
            if record.busy is not None:
                self._readbacks[record.busy] = Readback(self.prefix + record.busy, _busy_record(record))
            if record.demand is not None:
                self._demands[record.demand] = self._demand(record)

    def _demand(self, record: Record) -> Demand:
        full_name = self.prefix + record.name
        busy = record.busy
        if busy is None:
            return Demand(full_name, record, self._owner)
        return BusyDemand(full_name, record, self._owner, lambda active: self.set(busy, active))

    def _load(self) -> None:
        builder.LoadDatabase()
        if self._options.ioc_stats is not None:
            softioc.devIocStats(self.prefix + self._options.ioc_stats)
        for template in self._options.templates:
            macros = {"P": self.prefix, **template.macros}
            substitutions = ",".join(f"{name}={value}" for name, value in macros.items())
            try:
                softioc.dbLoadDatabase(str(template.path), None, substitutions)
            except AssertionError:
                raise ConfigError(
                    mismatch(str(template.path), "an EPICS database", "an error", "see the messages above")
                ) from None
        dbCore.asSetFilename(str(self._options.access_rules).encode())
        dbCore.asSetSubstitutions(f"P={self.prefix}".encode())


def _busy_record(record: Record) -> Record:
    return Record(
        record.busy or "",
        Kind.BOOL,
        record.description,
        choices=record.shown or record.choices,
        severities=(Severity.NO_ALARM, Severity.MINOR),
    )


def _check_files(options: ServerOptions) -> None:
    for path in (*(template.path for template in options.templates), options.access_rules):
        if not path.is_file():
            raise ConfigError(mismatch(str(path), "a file", "none"))
    rules = options.access_rules.read_text(encoding="utf-8")
    if not re.search(rf"ASG\(\s*\"?{READ_ONLY_GROUP}\"?\s*\)", rules):
        raise ConfigError(
            mismatch(
                str(options.access_rules),
                f"a group ASG({READ_ONLY_GROUP})",
                "none",
                f"add ASG({READ_ONLY_GROUP}) {{ RULE(1, READ) }}, or clients can write read-backs",
            )
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Send to the log what the EPICS libraries write to standard output and error meanwhile."""
    library = ctypes.CDLL(None)
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as heard:
        kept = [(target, os.dup(target)) for target in (1, 2)]
        for target, _ in kept:
            os.dup2(heard.fileno(), target)
        try:
            yield
        finally:
            Com.errlogFlush()
            library.fflush(None)
            for target, copy in kept:
                os.dup2(copy, target)
                os.close(copy)
            heard.seek(0)
            for line in heard.read().decode(errors="replace").splitlines():
                log.log(logging.WARNING if "rror" in line else logging.DEBUG, "EPICS: %s", line)
