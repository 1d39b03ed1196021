"""What the records of the supervisor show of an appliance."""

from ioc.core.status import State
from ioc.records.ledger_records import ABSENT, CHAIN_SLOTS, GOES_ON, PROCESS_SLOTS
from ioc.records.table import Value
from ioc.supervisor.appliance import Appliance, ChainView, ProcessView, SeriesView


def values(view: Appliance) -> dict[str, Value]:
    """Return the values of all read-backs, by name without prefix."""
    running = [process for process in view.processes if process.pid is not None]
    shown: dict[str, Value] = {
        "Ledger:Published_RBV": view.published,
        "Ledger:Residue_RBV": view.residue,
        "Ledger:Complete_RBV": view.complete,
        "Ledger:Dropped_RBV": view.dropped,
        "Ledger:Failed_RBV": view.failed,
        "Ledger:Unseen_RBV": view.unseen,
        "Ledger:Queued_RBV": view.queued,
        **_series(view.series or SeriesView(id=0)),
        "Health_RBV": view.health,
        "Web_RBV": view.web,
        "StatusMessage_RBV": view.last_error or view.message,
        "Processes_RBV": len(running),
        "Restarts_RBV": sum(process.restarts for process in view.processes),
        "Uptime_RBV": (view.heartbeat_ns - view.started_ns) // 1_000_000_000,
        "Heartbeat_RBV": (view.heartbeat_ns - view.started_ns) // 1_000_000_000 + 1,
    }
    kept = view.quarantine
    shown |= {
        "RestartLimit_RBV": view.most_failures,
        "Quarantine:Frames_RBV": kept.frames,
        "Quarantine:Bytes_RBV": kept.bytes,
        "Quarantine:Names_RBV": " ".join(reversed(kept.names)),
        "Quarantine:LastFile_RBV": kept.last,
        **{f"Quarantine:MostFrames{end}": kept.most_frames for end in ("", "_RBV")},
        **{f"Quarantine:MostBytes{end}": kept.most_bytes for end in ("", "_RBV")},
    }
    for slot in range(1, CHAIN_SLOTS + 1):
        shown |= _chain(f"Chain{slot}:", view.chains[slot - 1] if slot <= len(view.chains) else None)
    for slot in range(1, PROCESS_SLOTS + 1):
        process = view.processes[slot - 1] if slot <= len(view.processes) else None
        shown.update(_slot(f"Process{slot}:", process))
    return shown


def _series(series: SeriesView) -> dict[str, Value]:
    return {
        "Ledger:Series_RBV": series.id,
        "Ledger:SeriesPublished_RBV": series.published,
        "Ledger:SeriesProcessed_RBV": series.processed,
        "Ledger:SeriesDropped_RBV": series.dropped,
        "Ledger:SeriesComplete_RBV": series.complete,
        "Ledger:SeriesEnded_RBV": series.ended or GOES_ON,
    }


def _chain(place: str, chain: ChainView | None) -> dict[str, Value]:
    if chain is None:
        return {}
    counts: dict[str, Value] = dict.fromkeys((f"{place}Count", f"{place}Count_RBV"), chain.count)
    return counts | {
        f"{place}Name_RBV": chain.name,
        f"{place}Input_RBV": chain.input,
        f"{place}Running_RBV": chain.running,
    }


def _slot(place: str, process: ProcessView | None) -> dict[str, Value]:
    if process is None:
        return {f"{place}State_RBV": ABSENT}
    state: State = process.state
    return {
        f"{place}Name_RBV": process.name,
        f"{place}Role_RBV": process.role.value,
        f"{place}State_RBV": state.value,
        f"{place}Pid_RBV": process.pid or 0,
        f"{place}Job_RBV": process.job,
        f"{place}JobState_RBV": process.job_state,
        f"{place}Restarts_RBV": process.restarts,
        f"{place}LastError_RBV": process.last_error,
        f"{place}Message_RBV": process.message,
        f"{place}Failures_RBV": process.failures,
        f"{place}Backoff_RBV": round(process.backoff, 1),
        **{f"{place}{name}_RBV": value for name, value in process.usage.items()},
    }
