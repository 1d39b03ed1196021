"""What a run looks like: the frames, who takes them and how; and the appliance's configuration for it."""

from dataclasses import dataclass

from ioc.core.config_table import Policy
from ioc.core.frame import DataType

PREPARED = 8
"""Different images that are ready before the run, of Rayfan and of the peer alike."""
UNPACED = 1e6
"""Hz; the highest rate that can be set, which no run reaches: as fast as it goes."""
LEAST_MEMORY = 512 << 20
LEAST_SOURCE = 64 << 20
"""Bytes of the different images that frames are copied from: more than the caches hold."""
MOST_PREPARED = 1024
"""What detector.source.prepared may be."""
QUEUE_SIZE = 128
"""Frames that may wait for a member, so that 64 can be on their way; PvaPy's simulator queues up to 2000."""
WINDOW = 1e-5
"""s that the stamps of a frame and of its metadata may differ; they are the same, on both sides."""
WAIT = 2.0
"""s that a frame waits for its metadata."""
PROCESSOR = "bench.py"
BATCHES = """\
from consumers.processor import Processor


class Bench(Processor):
    batch_size = {batch}
    batch_timeout = 0.1

    def process_batch(self, frames, metadata):
        return list(frames)
"""
READS = """\
from consumers.processor import Processor
from ioc.bench.reading import sum_of


class Bench(Processor):
    def process(self, frame, metadata):
        sum_of(frame.data)
        return frame
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Square frames of `size` x `size` pixels to `consumers` members that take turns, `batch` frames at a time.

    `idle_groups` are groups without a member, which should cost nothing. `fresh`: every frame is copied into shared
    memory from one of the prepared ones; otherwise these lie there, and no pixel is moved. `read`: whoever gets a
    frame reads every byte of it, Rayfan's processor and the peer's client alike (reading.py). `past_series` series of
    one frame were acquired, and frames flowed for `age` seconds, before anything is measured. `metadata` PVA channels
    are updated with every frame, and matched to it by time stamp; a frame that lacks one counts as lost. `broadcast`:
    the consumers do not take turns, each gets every frame; known to `rayfan bench pva` only.
    """

    size: int = 512
    dtype: DataType = DataType.UINT8
    consumers: int = 1
    policy: Policy = Policy.LOSSLESS
    batch: int = 1
    idle_groups: int = 0
    fresh: bool = False
    read: bool = False
    past_series: int = 0
    age: float = 0.0
    metadata: int = 0
    broadcast: bool = False

    @property
    def own_processor(self) -> bool:
        """Whether the benchmark brings its processor along."""
        return self.batch > 1 or self.read

    @property
    def frame_bytes(self) -> int:
        """Bytes of the pixels of a frame."""
        return self.size * self.size * self.dtype.dtype.itemsize

    @property
    def title(self) -> str:
        """The case in a few words."""
        members = "1 consumer" if self.consumers == 1 else f"{self.consumers} consumers in turn"
        members = f"each to {self.consumers} consumers" if self.broadcast else members
        batches = f", batches of {self.batch}" if self.batch > 1 else ""
        fresh = ", each frame written anew" if self.fresh else ""
        read = ", every byte read" if self.read else ""
        metadata = f", {self.metadata} metadata channels" if self.metadata else ""
        return f"{self.size}x{self.size} {self.dtype.value}, {members}{batches}{fresh}{read}{metadata}"

    @property
    def begins_later(self) -> bool:
        """Whether the detector is told to acquire when all is ready."""
        return bool(self.past_series or self.metadata)

    def channels(self) -> list[str]:
        """Return the names of the metadata channels."""
        return [f"M{number}" for number in range(1, self.metadata + 1)]

    def members(self) -> list[str]:
        """Return the names of the consumers' processes."""
        return [f"Cons{number}" for number in range(1, self.consumers + 1)]


def processor_text(case: Case) -> str:
    """Return the source of a processor that passes frames through, in batches or when it has read them."""
    return READS if case.read else BATCHES.format(batch=case.batch)


def toml(case: Case, frame_rate: float | None) -> str:
    """Return the configuration of an appliance for a case; `frame_rate` in Hz, None: as fast as it goes."""
    processor = f"{PROCESSOR}:Bench" if case.own_processor else "passthrough"
    return detector_toml(case, frame_rate) + "".join(
        [
            "\n[groups.bench]\n",
            f"count = {case.consumers}\n",
            f'policy = "{case.policy.value}"\n',
            f"queue_size = {max(QUEUE_SIZE, 4 * case.batch)}\n",
            f'processor = "{processor}"\n',
            "outputs = []\n",
            *(f"\n[groups.idle{number}]\ncount = 0\n" for number in range(case.idle_groups)),
            *(_channel_toml(name) for name in case.channels()),
        ]
    )


def detector_toml(case: Case, frame_rate: float | None) -> str:
    """Return the part of the configuration that a detector needs."""
    prepared, memory = PREPARED, max(LEAST_MEMORY, 4 * PREPARED * case.frame_bytes)
    if case.fresh:  # images that would fill half of the budget are not laid out in it but copied into it, one by one
        prepared = min(MOST_PREPARED, max(2 * PREPARED, -(-LEAST_SOURCE // case.frame_bytes)))
        memory = (2 * prepared - 1) * case.frame_bytes
    return "".join(
        [
            f"memory_budget = {-(-8 * memory // 3)}\n",  # one set of images gets three eighths of it
            "\n[detector]\n",
            f"frame_rate = {frame_rate or UNPACED}\n",
            "acquire_time = 0.0\n",
            "acquire_at_start = false\n" if case.begins_later else "",
            f"size = [{case.size}, {case.size}]\n",
            f'data_type = "{case.dtype.value}"\n',
            "\n[detector.source]\n",
            f"prepared = {prepared}\n",
            *(f"\n[detector.metadata.{name}]\n" for name in case.channels()),
        ]
    )


def _channel_toml(name: str) -> str:
    table = f"\n[groups.bench.metadata.channels.{name}]\n"
    return f'{table}channel = "pva://$(P)Meta:{name}"\nwindow = {WINDOW}\nwait = {WAIT}\n'
