"""The records of the supervisor: the ledger, the appliance's health, and one slot `Process1:` ... a process."""

from ioc.core.config_group import MOST_MEMBERS
from ioc.core.status import State
from ioc.records.table import Access, Alarms, Kind, Limits, Record, Severity, under
from ioc.records.usage_records import USAGE

CHAIN_SLOTS = 8
"""Groups behind other groups or collectors that have records of their own; those before them have theirs at the
detector."""
PROCESS_SLOTS = 16
"""Processes that have records of their own."""
TEXT_SIZE = 256
"""Bytes of a message."""
ABSENT = "Absent"
"""State of a slot without a process."""
GOES_ON = "goes on"
"""State of a series that has not ended."""
HEALTH = ("OK", "Degraded", "Failed")

INT, COUNT, FLOAT, BOOL, ENUM, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.STRING
FRAMES = "frame"
RESIDUE_ALARM = Alarms(lolo=-1, hihi=1)
ANY_LOSS = Alarms(high=1)

LEDGER = (
    Record("Published", COUNT, "Frames that the detector published", unit=FRAMES),
    Record("Residue", COUNT, "Frames unaccounted for, 0 is good", unit=FRAMES, alarms=RESIDUE_ALARM),
    Record("Complete", BOOL, "Whether every frame reached its end"),
    Record("Dropped", COUNT, "Frames dropped, all reasons", unit=FRAMES, alarms=ANY_LOSS),
    Record("Failed", COUNT, "Frames that a processor failed on", unit=FRAMES, alarms=ANY_LOSS),
    Record("Unseen", COUNT, "Of both, what nobody acknowledged yet", unit=FRAMES, alarms=ANY_LOSS),
    Record("Acknowledge", BOOL, "Take losses and mishaps so far as seen", Access.COMMAND),
    Record("Queued", COUNT, "Frames on their way", unit=FRAMES),
    Record("Series", COUNT, "Id of the newest series, 0: none"),
    Record("SeriesPublished", COUNT, "Frames published in it", unit=FRAMES),
    Record("SeriesProcessed", COUNT, "Of these, processed by every group", unit=FRAMES),
    Record("SeriesDropped", COUNT, "Of these, dropped, for every member", unit=FRAMES, alarms=ANY_LOSS),
    Record("SeriesComplete", BOOL, "Whether it ended and all is settled"),
    Record(
        "SeriesEnded",
        ENUM,
        "How it ended",
        choices=(GOES_ON, "normal", "aborted", "crashed"),
        severities=(Severity.NO_ALARM, Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR),
    ),
)

APPLIANCE = (
    Record(
        "Health",
        ENUM,
        "How the appliance is",
        choices=HEALTH,
        severities=(Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR),
    ),
    Record("StatusMessage", STRING, "What happened last", size=TEXT_SIZE),
    Record("Processes", INT, "Processes that run"),
    Record("Restarts", INT, "Restarts since the start", alarms=Alarms(high=1)),
    Record("RestartLimit", INT, "Failures until a process is given up"),
    Record("Uptime", FLOAT, "Time since the start", unit="s", precision=0),
    Record("Heartbeat", INT, "Counts on while the supervisor lives"),
    Record("Drain", BOOL, "Finish all frames, then stop everything", Access.COMMAND),
    Record("Restart", STRING, "Process to start anew, by its name", Access.WRITE, kept=False),
    Record("Web", STRING, "Address of the web page, empty: none", size=TEXT_SIZE),
)

QUARANTINE = (
    Record("Frames", COUNT, "Frames set aside, on file", unit=FRAMES, alarms=ANY_LOSS),
    Record("Bytes", COUNT, "Bytes of their files", unit="byte"),
    Record("MostFrames", COUNT, "Frames kept, the newest", Access.PAIR, FRAMES, accepted=Limits(0, 100_000)),
    Record("MostBytes", COUNT, "Bytes kept, the newest", Access.PAIR, "byte", accepted=Limits(0, 1 << 50)),
    Record("Names", STRING, "Process_series_id of the newest", size=TEXT_SIZE),
    Record("LastFile", STRING, "File of the newest", size=TEXT_SIZE),
)

CHAIN = (
    Record("Name", STRING, "Name of the group", size=TEXT_SIZE),
    Record("Input", STRING, "Who gives it frames", size=TEXT_SIZE),
    Record("Count", INT, "Members of the group", Access.PAIR, accepted=Limits(0, MOST_MEMBERS)),
    Record("Running", INT, "Members that run"),
)

PROCESS = (
    Record("Name", STRING, "Name of the process"),
    Record("Role", STRING, "What kind of process it is"),
    Record(
        "State",
        ENUM,
        "Where the process is in its life",
        choices=(ABSENT, *(state.value for state in State)),
        severities=(
            Severity.NO_ALARM,
            *(Severity.MAJOR if state is State.FAILED else Severity.NO_ALARM for state in State),
        ),
    ),
    Record("Pid", INT, "Process id, 0: none"),
    Record("Job", STRING, "Id of the batch job, empty: none"),
    Record("JobState", STRING, "State of the batch job, empty: none"),
    Record("Restarts", INT, "Restarts since the start"),
    Record("Failures", INT, "Failures lately, see RestartLimit"),
    Record("Backoff", FLOAT, "Time until it is started again", unit="s", precision=1),
    Record("Message", STRING, "Why it is in that state, empty: well", size=TEXT_SIZE),
    Record("LastError", STRING, "Last error, empty: none", size=TEXT_SIZE),
    *USAGE,
)


def supervisor_records() -> list[Record]:
    """Return all records of the supervisor process."""
    records = [*under("Ledger:", LEDGER), *APPLIANCE, *under("Quarantine:", QUARANTINE)]
    for slot in range(1, CHAIN_SLOTS + 1):
        records += under(f"Chain{slot}:", CHAIN)
    for slot in range(1, PROCESS_SLOTS + 1):
        records += under(f"Process{slot}:", PROCESS)
    return records
