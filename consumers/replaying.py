"""A processor run by hand on a frame that was set aside, in this process: what it returns, or how it fails."""

import faulthandler
import pdb
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers.batch import Batch
from consumers.failures import USER_FAULTS, words
from consumers.loading import load_processor
from consumers.processor import Context, Output, Processor, checked_settings, frames_of
from consumers.result import check_result
from ioc.core.errors import InputError, ProtocolError, UserError, mismatch
from ioc.core.frame import Frame
from ioc.core.quarantine import Report, parse

MOST_BYTES = 1 << 34
"""Bytes of a file that is read."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What is run: the frame, what is known of it, and the processor, configured."""

    frame: Frame
    report: Report | None
    processor: Processor
    name: str


def read(path: Path) -> tuple[Frame, Report | None]:
    """Return the frame of a file, and the report if there is one.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(mismatch(str(path), f"at most {MOST_BYTES} bytes", path.stat().st_size))
        return parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give a file of the quarantine") from None
    except ProtocolError as error:
        raise InputError(f"{path}: no quarantined frame: {error}; give a file of the quarantine") from None


def prepare(path: Path, processor: str | None, changes: dict[str, Any]) -> Replay:
    """Return what is to be run; `processor` None: the one that died. `changes` are settings that are to differ.

    Raises:
        UserError: the file, the processor or its settings cannot be used.
    """
    frame, report = read(path)
    reference = processor or (report.processor if report is not None else None)
    if reference is None:
        raise UserError(f"{path}: it is not known which processor died of it; name one with --processor")
    made = load_processor(reference, "--processor")()
    known = {one.name for one in made.declared_settings}
    told = report.settings if report is not None else {}
    settings = {name: value for name, value in told.items() if name in known} | changes
    made.configure(checked_settings(made.declared_settings, settings))
    return Replay(frame, report, made, reference)


def run(replay: Replay, debug: bool) -> tuple[bool, list[str]]:
    """Start the processor, give it the frame, and return whether it went well, and what there is to say."""
    report, processor = replay.report, replay.processor
    limit = report.time_limit if report is not None else None
    faulthandler.enable()
    with tempfile.TemporaryDirectory(prefix="rayfan-replay-") as folder:
        try:
            group = (report.group if report is not None else None) or "replay"
            processor.start(Context(report.name if report is not None else "Cons1", group, 0, 1, Path(folder)))
            if limit is not None and not debug:
                faulthandler.dump_traceback_later(limit, exit=True)
            put_out = frames_of(_called(replay, debug))
            check_result(put_out, [replay.frame], None)
        except USER_FAULTS as error:
            if debug:
                pdb.post_mortem(error.__traceback__)
            return False, [traceback.format_exc().rstrip(), f"the processor failed: {words(error)}"]
        finally:
            faulthandler.cancel_dump_traceback_later()
        told = [f"  {name} = {value}" for name, value in processor.statistics().items()]
        processor.stop()
    return True, [f"{len(put_out)} frame(s) put out", *map(_frame_words, put_out), *told]


def about(replay: Replay) -> list[str]:
    """Return what is known of a frame, in lines for a person."""
    report = replay.report
    lines = [f"frame {_frame_words(replay.frame).strip()}"]
    if report is None:
        return [*lines, "no report: the supervisor has not seen it"]
    lines.append(f"set aside from {report.name}, processor {report.processor}, settings {report.settings}")
    for death in report.deaths:
        lines.append(f"{death.name}, process {death.pid}, ended: {death.reason} (exit code {death.exit_code})")
    if report.deaths and report.deaths[-1].trace:
        lines += ["what it wrote last:", *(f"  | {line}" for line in report.deaths[-1].trace.rstrip().splitlines())]
    return lines


def _called(replay: Replay, debug: bool) -> Output:
    processor, frame = replay.processor, replay.frame
    batched = processor.batch_size > 1
    arguments = (Batch([frame]), [{}]) if batched else (frame, {})
    call = processor.process_batch if batched else processor.process
    return pdb.Pdb().runcall(call, *arguments) if debug else call(*arguments)  # type: ignore[arg-type]


def _frame_words(frame: Frame) -> str:
    data = frame.data
    more = f", {dict(frame.attributes)}" if frame.attributes else ""
    return f"  series {frame.series}, id {frame.unique_id}, {data.shape} {data.dtype}{more}"
