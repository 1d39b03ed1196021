"""The records of consumers (`Cons1:`), collectors (`Coll1:`), intakes (`In1:`), and EJFAT's.

What a processor declares becomes records too: the statistic `Mean` is `Cons1:Stat:Mean_RBV`, the setting `Threshold`
is the pair `Cons1:Set:Threshold`, `Cons1:Set:Threshold_RBV`.
"""

from collections.abc import Iterable, Mapping

from consumers.processor import Setting, Statistic
from ioc.core.config_metadata import LONGEST_WAIT, ChannelConfig
from ioc.core.status import State
from ioc.records.table import Access, Alarms, Kind, Limits, Record, Severity, fit_enum, under
from ioc.records.usage_records import USAGE

TEXT_SIZE = 256
"""Bytes of a message."""
SETTINGS_SIZE = 8192
"""Bytes of the settings of a processor as JSON."""
FASTEST = 400.0
"""Gbit/s; the fastest network that a rate is asked for."""

READ, PAIR, COMMAND = Access.READ, Access.PAIR, Access.COMMAND
INT, COUNT, FLOAT, BOOL, ENUM, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.STRING
STATES = tuple(state.value for state in State)
STATE_SEVERITIES = tuple(Severity.MAJOR if state is State.FAILED else Severity.NO_ALARM for state in State)
ANY_LOSS = Alarms(high=1)

STATE = Record("State", ENUM, "Where the process is in its life", choices=STATES, severities=STATE_SEVERITIES)
LAST_ERROR = Record("LastError", STRING, "Last error, empty: none", size=TEXT_SIZE)
STATUS_MESSAGE = Record("StatusMessage", STRING, "What happened last", size=TEXT_SIZE)
PID = Record("Pid", INT, "Process id")
UPTIME = Record("Uptime", FLOAT, "Time since the process began", unit="s", precision=0)
MEMORY_USED = Record("MemoryUsed", COUNT, "Bytes of frames that wait here", unit="byte")
MEMORY_LIMIT = Record("MemoryLimit", COUNT, "Bytes of frames that may wait", unit="byte")

LINK_STATES = ("none", "known", "unknown")
CONTROL = (
    Record(
        "LoadBalancer",
        ENUM,
        "Whether the load balancer knows us",
        choices=LINK_STATES,
        severities=(Severity.NO_ALARM, Severity.NO_ALARM, Severity.MAJOR),
    ),
    Record("ControlErrors", COUNT, "Calls to the control plane that failed"),
    Record("ControlError", STRING, "Why the last one did, empty: well", size=TEXT_SIZE),
)
REACHABLE = ("yes", "no")
REACHABLE_SEVERITIES = (Severity.NO_ALARM, Severity.MAJOR)

CONSUMER = (
    STATE,
    Record("Received", COUNT, "Frames received", unit="frame"),
    Record("Processed", COUNT, "Frames processed", unit="frame"),
    Record("Failed", COUNT, "Frames that the processor failed on", unit="frame", alarms=ANY_LOSS),
    Record("Missed", COUNT, "Ids of its series never completed", unit="frame", alarms=ANY_LOSS),
    Record("Dropped", COUNT, "Frames meant for it and dropped", unit="frame", alarms=ANY_LOSS),
    Record("Queued", COUNT, "Frames received, not finished with", unit="frame"),
    Record("Published", COUNT, "Frames put out", unit="frame"),
    Record("Filtered", COUNT, "Frames that it put nothing out for", unit="frame"),
    Record("Shed", COUNT, "Frames not put out for lack of memory", unit="frame", alarms=ANY_LOSS),
    Record("Undelivered", COUNT, "Frames that no remote output took", unit="frame", alarms=ANY_LOSS),
    Record("UndeliveredIds", STRING, "Newest of them, as series:id", size=TEXT_SIZE),
    MEMORY_USED,
    MEMORY_LIMIT,
    Record("Rate", FLOAT, "Frames processed per second", unit="Hz", precision=2),
    Record("LatencyP50", FLOAT, "Median time from stamp to done", unit="s", precision=6),
    Record("LatencyP99", FLOAT, "99th percentile of stamp to done", unit="s", precision=6),
    Record("LatencyMax", FLOAT, "Longest time from stamp to done", unit="s", precision=6),
    Record("ExecutionTime", FLOAT, "Time that one frame takes", unit="ms"),
    Record("BatchCopies", COUNT, "Batches put together by a copy"),
    Record("Series", COUNT, "Series of the newest frame"),
    Record("UniqueId", COUNT, "Id of the newest frame"),
    Record("Processor", STRING, "Name of the processor", size=TEXT_SIZE),
    PID,
    UPTIME,
    LAST_ERROR,
    Record("LastErrorTime", STRING, "When, UTC"),
    Record("LastErrorSeries", COUNT, "Series of its frame, 0: no frame"),
    Record("LastErrorId", COUNT, "Id of its frame, 0: no frame"),
    Record("Errors", COUNT, "Errors of the processor"),
    Record("Quarantined", COUNT, "Frames that killed it, on file", unit="frame", alarms=ANY_LOSS),
    Record("QuarantineIds", STRING, "Series:id of the newest of them", size=TEXT_SIZE),
    Record("QuarantineFile", STRING, "File of the newest of them", size=TEXT_SIZE),
    *USAGE,
    STATUS_MESSAGE,
    Record("Start", BOOL, "Take frames", COMMAND),
    Record("Stop", BOOL, "Finish what is here, take no more", COMMAND),
    Record("Reset", BOOL, "Set the processor's statistics to zero", COMMAND),
    Record("Configure", STRING, "Settings of the processor as JSON", PAIR, size=SETTINGS_SIZE),
    Record("ConfigureMessage", STRING, "What became of the last Configure", size=TEXT_SIZE),
)

PLUGINS = (
    STATE,
    Record("Received", COUNT, "Frames received", unit="frame"),
    Record("Processed", COUNT, "Frames given to plug-ins, or passed by", unit="frame"),
    Record("Failed", COUNT, "Frames that a plug-in failed on", unit="frame", alarms=ANY_LOSS),
    Record("Dropped", COUNT, "Frames meant for it and dropped", unit="frame", alarms=ANY_LOSS),
    Record("Shed", COUNT, "Frames not shown for lack of memory", unit="frame", alarms=ANY_LOSS),
    MEMORY_USED,
    MEMORY_LIMIT,
    Record("Rate", FLOAT, "Frames received per second", unit="Hz", precision=2),
    PID,
    UPTIME,
    LAST_ERROR,
    STATUS_MESSAGE,
)
METADATA = (
    Record("Channels", STRING, "Names of its channels", size=TEXT_SIZE),
    Record("Waiting", COUNT, "Frames that wait for values", unit="frame"),
    Record("Complete", COUNT, "Frames with all values asked for", unit="frame"),
    Record("Unmatched", COUNT, "Frames with a value amiss", unit="frame", alarms=ANY_LOSS),
    Record("Unwanted", COUNT, "Of these, not processed", unit="frame"),
    Record("UnmatchedIds", STRING, "Their ids, present series", size=TEXT_SIZE),
)
CONNECTED = ("no", "yes")
CONNECTED_SEVERITIES = (Severity.MAJOR, Severity.NO_ALARM)
CHANNEL = (
    Record("Connected", ENUM, "Whether the channel is there", choices=CONNECTED, severities=CONNECTED_SEVERITIES),
    Record("Rate", FLOAT, "Updates received per second", unit="Hz", precision=2),
    Record("Received", COUNT, "Updates received", unit="update"),
    Record("Matched", COUNT, "Frames given the value asked for", unit="frame"),
    Record("Unmatched", COUNT, "Frames not given it", unit="frame", alarms=ANY_LOSS),
    Record("Late", COUNT, "Updates that came too late", unit="update", alarms=ANY_LOSS),
    Record("Duplicates", COUNT, "Updates that came twice", unit="update"),
    Record("Unused", COUNT, "Updates that no frame was given", unit="update"),
    Record("UnusedValues", STRING, "Their ids, or numbers from 1", size=TEXT_SIZE),
    Record("Errors", COUNT, "Updates dropped or not understood", unit="update", alarms=ANY_LOSS),
    Record("ClockOffset", FLOAT, "Its clock ahead of the frames'", unit="s", precision=6),
    Record("Jitter", FLOAT, "Standard deviation of its stamps", unit="s", precision=6),
    Record("Locked", BOOL, "Whether the offset is known"),
    Record("Window", FLOAT, "Stamps may differ by so much", PAIR, "s", 6, accepted=Limits(0.0, 3600.0)),
    Record("Wait", FLOAT, "Time that frames wait for a value", PAIR, "s", 3, accepted=Limits(0.0, LONGEST_WAIT)),
    Record("Offset", FLOAT, "Offset used; a put fixes it", PAIR, "s", 6, accepted=Limits(-86400.0, 86400.0)),
)

COLLECTOR = (
    STATE,
    Record("Received", COUNT, "Frames received from all inputs", unit="frame"),
    Record("Published", COUNT, "Frames put out, in order", unit="frame"),
    Record("Inputs", INT, "Processes that it gathers from"),
    Record("Waiting", COUNT, "Frames that wait for those before them", unit="frame"),
    Record("OldestWait", FLOAT, "Time that the oldest one has waited", unit="s"),
    Record("Missing", COUNT, "Ids that never came", unit="frame", alarms=ANY_LOSS),
    Record("Late", COUNT, "Frames that came too late", unit="frame", alarms=ANY_LOSS),
    Record("Duplicates", COUNT, "Frames that had come before", unit="frame"),
    Record("Filtered", COUNT, "Ids that a processor put nothing out for", unit="frame"),
    Record("Incomplete", COUNT, "Frames of which tiles were missing", unit="frame", alarms=ANY_LOSS),
    Record("Failed", COUNT, "Frames or tiles that do not fit", unit="frame", alarms=ANY_LOSS),
    Record("Dropped", COUNT, "Frames meant for it and dropped", unit="frame", alarms=ANY_LOSS),
    Record("Shed", COUNT, "Frames not put out for lack of memory", unit="frame", alarms=ANY_LOSS),
    Record("Undelivered", COUNT, "Frames that no remote output took", unit="frame", alarms=ANY_LOSS),
    MEMORY_USED,
    MEMORY_LIMIT,
    Record("MissingRanges", STRING, "Ids that never came, present series", size=TEXT_SIZE),
    Record("Complete", BOOL, "Whether all of the last series came"),
    Record("Series", COUNT, "Series of the newest frame"),
    Record("UniqueId", COUNT, "Id of the newest frame"),
    Record("Rate", FLOAT, "Frames put out per second", unit="Hz", precision=2),
    Record("Wait", FLOAT, "Time that a frame waits for others", PAIR, "s", 3, accepted=Limits(0.0, 3600.0)),
    PID,
    UPTIME,
    LAST_ERROR,
    STATUS_MESSAGE,
    Record("Reset", BOOL, "Set the counters of gaps to zero", COMMAND),
)

KEY_FAULT = Record("KeyFault", STRING, "Why a changed key file is not used", size=TEXT_SIZE)

EGRESS = (
    STATE,
    Record("Frames", COUNT, "Frames sent", unit="frame"),
    Record("Bytes", COUNT, "Bytes of frames sent", unit="byte"),
    Record("Packets", COUNT, "Packets sent", unit="packet"),
    Record("Errors", COUNT, "Frames that could not be sent", unit="frame", alarms=ANY_LOSS),
    Record("Rate", FLOAT, "Frames sent per second", unit="Hz", precision=2),
    Record("ByteRate", FLOAT, "Bytes sent per second", unit="B/s", precision=0),
    Record("Queued", COUNT, "Frames received, not sent yet", unit="frame"),
    Record("Destination", STRING, "Where the packets go", size=TEXT_SIZE),
    Record("MTU", INT, "Bytes of an IP packet", unit="byte"),
    Record("TargetRate", FLOAT, "Pace of packets, 0: none", PAIR, "Gbit/s", 3, accepted=Limits(0.0, FASTEST)),
    Record("Offload", BOOL, "Whether the kernel cuts the packets"),
    Record("GoodputRate", FLOAT, "Pixels handed to the network", unit="Gbit/s"),
    Record("Reachable", ENUM, "Whether packets find their way", choices=REACHABLE, severities=REACHABLE_SEVERITIES),
    Record("Unreachable", COUNT, "Packets that found no way", unit="packet", alarms=ANY_LOSS),
    Record("Sockets", INT, "Sockets that events take turns over"),
    Record("SendBufferAsked", INT, "Send buffer asked of the kernel", unit="byte"),
    Record("SendBuffer", INT, "Send buffer that the kernel gave", unit="byte"),
    Record("BufferAdvice", STRING, "What to set, empty: all is well", size=TEXT_SIZE),
    *CONTROL,
    Record("Payload", STRING, "What an event carries"),
    Record("Key", STRING, "Name of the key that seals events", size=TEXT_SIZE),
    KEY_FAULT,
    Record("ResendAsked", COUNT, "Times lost packets were asked for"),
    Record("Resent", COUNT, "Packets sent again", unit="packet"),
    Record("ResendGone", COUNT, "Events not there any more to send again", unit="frame"),
    Record("ResendRefused", COUNT, "Clients let go that asked wrongly"),
    Record("ResendClients", INT, "Clients that may ask"),
    Record("ResendTelling", INT, "Workers that tell which events they have"),
    Record("ResendUnclaimed", COUNT, "Events no worker had, sent again", unit="event"),
    Record("ResendMemory", COUNT, "Events kept to be sent again", unit="byte"),
    Record("Syncs", COUNT, "Sync messages sent"),
    Record("Renewals", COUNT, "Times the reservation was extended"),
    PID,
    UPTIME,
    LAST_ERROR,
    STATUS_MESSAGE,
)

INGRESS = (
    STATE,
    Record("Frames", COUNT, "Frames received whole", unit="frame"),
    Record("Bytes", COUNT, "Bytes of frames received", unit="byte"),
    Record("Incomplete", COUNT, "Events given up with packets missing", unit="frame", alarms=ANY_LOSS),
    Record("Lost", COUNT, "Frames of which no packet came", unit="frame", alarms=ANY_LOSS),
    Record("Corrupt", COUNT, "Events whose check failed", unit="frame", alarms=ANY_LOSS),
    Record("Refused", COUNT, "Events not sealed as they must be", unit="frame", alarms=ANY_LOSS),
    Record("RefusedEvents", STRING, "Data id: event numbers refused", size=TEXT_SIZE),
    Record("Payload", STRING, "What an event may carry"),
    KEY_FAULT,
    Record("ResendAsked", COUNT, "Times lost packets were asked for"),
    Record("Resent", COUNT, "Packets that were sent again", unit="packet"),
    Record("ResendRecovered", COUNT, "Frames whole by what was sent again", unit="frame"),
    Record("ResendGivenUp", COUNT, "Frames asked for that stayed away", unit="frame", alarms=ANY_LOSS),
    Record("ResendError", STRING, "Why nothing can be asked for", size=TEXT_SIZE),
    Record("Duplicates", COUNT, "Frames that came twice", unit="frame"),
    Record("KernelDrops", COUNT, "Packets the kernel had no room for", unit="packet", alarms=ANY_LOSS),
    Record("Rate", FLOAT, "Frames received per second", unit="Hz", precision=2),
    Record("ByteRate", FLOAT, "Bytes received per second", unit="B/s", precision=0),
    Record("Shed", COUNT, "Frames dropped for lack of memory", unit="frame", alarms=ANY_LOSS),
    MEMORY_USED,
    MEMORY_LIMIT,
    Record("Port", INT, "UDP port that is listened on"),
    Record("Ports", INT, "Ports listened on, from Port on"),
    Record("ReceiveBufferAsked", INT, "Receive buffer asked of the kernel", unit="byte"),
    Record("ReceiveBuffer", INT, "Receive buffer that the kernel gave", unit="byte"),
    Record("BufferAdvice", STRING, "What to set, empty: all is well", size=TEXT_SIZE),
    Record("UdpInErrors", COUNT, "Datagrams this host could not take", unit="packet"),
    Record("Dropped", COUNT, "Events that found the queue full", unit="frame", alarms=ANY_LOSS),
    Record("Bad", COUNT, "Datagrams that are no EJFAT", unit="packet"),
    Record("QueueFill", FLOAT, "How full the queue is, 0 to 1"),
    *CONTROL,
    Record("ControlSignal", FLOAT, "What the load balancer is asked for"),
    Record("States", COUNT, "States that the load balancer took"),
    Record("Registrations", COUNT, "Times registered"),
    PID,
    UPTIME,
    LAST_ERROR,
    STATUS_MESSAGE,
)


INTAKE = (
    STATE,
    Record("Source", STRING, "Where the frames come from", size=TEXT_SIZE),
    Record("Way", STRING, "How monitored channels come, why", size=TEXT_SIZE),
    Record("Streams", INT, "Streams that it takes"),
    Record("Connected", INT, "Servers or senders that are there"),
    Record("Disconnects", COUNT, "Times a server was lost"),
    Record("Frames", COUNT, "Frames taken in", unit="frame"),
    Record("Bytes", COUNT, "Bytes of frames taken in", unit="byte"),
    Record("Rate", FLOAT, "Frames taken in per second", unit="Hz", precision=2),
    Record("ByteRate", FLOAT, "Bytes taken in per second", unit="B/s", precision=0),
    Record("Merged", COUNT, "Ids missing between those that came", unit="frame", alarms=ANY_LOSS),
    Record("MergedIds", STRING, "Which: series:first-last, the newest", size=TEXT_SIZE),
    Record("Repeated", COUNT, "Frames shown again on reconnection", unit="frame"),
    Record("Refused", COUNT, "Frames their senders were told to keep", unit="frame"),
    Record("Bad", COUNT, "Updates that are no usable image", alarms=ANY_LOSS),
    Record("Shed", COUNT, "Frames not shown for lack of memory", unit="frame", alarms=ANY_LOSS),
    Record("Series", COUNT, "Series of the newest frame"),
    Record("UniqueId", COUNT, "Id of the newest frame"),
    PID,
    UPTIME,
    LAST_ERROR,
    STATUS_MESSAGE,
)

PART = Limits(0.0, 1.0)
HELD = Limits(0.0, 10.0)
BALANCER = (
    STATE,
    Record("Received", COUNT, "Packets received", unit="packet"),
    Record("Forwarded", COUNT, "Packets sent on", unit="packet"),
    Record("Nobody", COUNT, "Packets that no worker was there for", unit="packet", alarms=ANY_LOSS),
    Record("Strangers", COUNT, "Packets of unknown senders", unit="packet"),
    Record("Malformed", COUNT, "Packets that are no EJFAT", unit="packet"),
    Record("KernelDrops", COUNT, "Packets the kernel had no room for", unit="packet", alarms=ANY_LOSS),
    Record("ReceiveBufferAsked", INT, "Receive buffer asked of the kernel", unit="byte"),
    Record("ReceiveBuffer", INT, "Receive buffer that the kernel gave", unit="byte"),
    Record("BufferAdvice", STRING, "What to set, empty: all is well", size=TEXT_SIZE),
    Record("UdpInErrors", COUNT, "Datagrams this host could not take", unit="packet"),
    Record("Loss", FLOAT, "Part of the packets to lose", PAIR, precision=4, accepted=PART),
    Record("Duplicate", FLOAT, "Part of the packets to double", PAIR, precision=4, accepted=PART),
    Record("Reorder", FLOAT, "Part of the packets to be overtaken", PAIR, precision=4, accepted=PART),
    Record("Delay", FLOAT, "Delay of every packet", PAIR, "s", 4, accepted=HELD),
    Record("Jitter", FLOAT, "Further delay of overtaken packets", PAIR, "s", 4, accepted=HELD),
    Record("FaultsLost", COUNT, "Packets lost on purpose", unit="packet"),
    Record("FaultsDoubled", COUNT, "Packets doubled on purpose", unit="packet"),
    Record("FaultsHeldBack", COUNT, "Packets held back on purpose", unit="packet"),
    Record("Errors", COUNT, "Packets that could not be sent", unit="packet", alarms=ANY_LOSS),
    Record("Syncs", COUNT, "Sync messages taken"),
    Record("Workers", INT, "Workers registered"),
    Record("WorkersReady", INT, "Workers that get events"),
    Record("Epoch", COUNT, "Newest epoch"),
    Record("Port", INT, "TCP port of the control plane"),
    Record("DataPort", INT, "UDP port of the data"),
    Record("Uri", STRING, "EJFAT URI without its token", size=TEXT_SIZE),
    PID,
    UPTIME,
    LAST_ERROR,
    STATUS_MESSAGE,
)


def balancer_records(name: str) -> list[Record]:
    """Return the records of the load balancer `name`, for example `EjfatLb1`."""
    return under(f"{name}:", BALANCER)


def consumer_records(name: str, settings: Iterable[Setting] = (), statistics: Iterable[Statistic] = ()) -> list[Record]:
    """Return the records of the consumer `name`, for example `Cons1`, with those of its processor.

    An int is a COUNT as a statistic and an INT as a setting; a str with choices that fit a record is an ENUM.
    """
    declared = [*map(_statistic_record, statistics), *map(_setting_record, settings)]
    return under(f"{name}:", (*CONSUMER, *declared))


def metadata_records(name: str, channels: Mapping[str, ChannelConfig]) -> list[Record]:
    """Return the records of the metadata of a consumer `name`; none if it has no channels."""
    if not channels:
        return []
    each = [record for channel in channels for record in under(f"{channel}:", CHANNEL)]
    return under(f"{name}:Meta:", (*METADATA, *each))


def collector_records(name: str) -> list[Record]:
    """Return the records of the collector `name`, for example `Coll1`."""
    return under(f"{name}:", COLLECTOR)


def intake_records(name: str) -> list[Record]:
    """Return the records of the intake `name`, for example `In1`."""
    return under(f"{name}:", INTAKE)


def plugins_records(name: str) -> list[Record]:
    """Return the records of the process of the plug-ins, for example `Plug1`."""
    return under(f"{name}:", PLUGINS)


def egress_records(name: str) -> list[Record]:
    """Return the records of the egress `name`, for example `Ejfat1`."""
    return under(f"{name}:", EGRESS)


def ingress_records(name: str) -> list[Record]:
    """Return the records of the ingress `name`, for example `EjfatIn1`."""
    return under(f"{name}:", INGRESS)


def _statistic_record(statistic: Statistic) -> Record:
    return Record(
        "Stat:" + statistic.name,
        {bool: BOOL, int: COUNT, float: FLOAT, str: STRING}[statistic.type],
        statistic.description or statistic.name,
        unit=statistic.unit,
        display=Limits(statistic.low, statistic.high),
        size=TEXT_SIZE,
    )


def _setting_record(setting: Setting) -> Record:
    choices = setting.choices if fit_enum(setting.choices) else ()
    return Record(
        "Set:" + setting.name,
        ENUM if choices else {bool: BOOL, int: INT, float: FLOAT, str: STRING}[setting.type],
        setting.description or setting.name,
        PAIR,
        setting.unit,
        accepted=Limits(setting.low, setting.high),
        choices=choices,
        initial=setting.default,
        size=TEXT_SIZE,
    )
