"""Tests of a stage without any process.

    def test_shouts(waldo_stage):
        stage = waldo_stage([("say", "k", "hello")], outputs=["shout"])
        import shout                                    # the program: calls waldo.stage(), and loops over it
        shout.main()
        assert stage.sent == [("shout", b"k", b"HELLO")]

`waldo_stage` is a fixture of pytest, there once the package is installed. Without pytest, `Rehearsal` is what it makes.
"""

import tempfile
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

import waldo

Bytes = Union[bytes, str]


class Record(NamedTuple):
    """A record: what the stage is given, and what it has sent."""

    flow: str
    key: bytes
    payload: bytes


class Rehearsal:
    """Stands for a stage: gives the program records, and keeps what it sends.

    It refuses what the real one would: flows that aren't among `outputs` (None: all are), and use after the end."""

    def __init__(
        self,
        records: Iterable[Tuple[str, Bytes, Bytes]] = (),
        *,
        outputs: Optional[Iterable[str]] = None,
        state_directory: Optional[Path] = None,
        name: str = "stage",
        instance: int = 0,
        server: str = "server",
        topology: str = "topology",
        namespace: str = "test",
    ) -> None:
        self._records = [Record(flow, _bytes(key), _bytes(payload)) for flow, key, payload in records]
        self._finished = False
        self._in_hand = False
        self._outputs = None if outputs is None else list(outputs)
        self._state_directory = state_directory
        self._temporary: Optional[tempfile.TemporaryDirectory[str]] = None
        self.name, self.instance, self.server = name, instance, server
        self.topology, self.namespace = topology, namespace
        #: What has been sent, in order.
        self.sent: List[Record] = []
        #: How many records count as done.
        self.handled = 0

    @property
    def inputs(self) -> List[str]:
        """The flows of the records that are still to come."""
        return sorted({record.flow for record in self._records})

    @property
    def outputs(self) -> List[str]:
        """The flows that may be sent; those that were, if any may."""
        return sorted({record.flow for record in self.sent}) if self._outputs is None else list(self._outputs)

    @property
    def state_directory(self) -> Path:
        """A directory that lives as long as this."""
        if self._state_directory is None:
            self._temporary = tempfile.TemporaryDirectory()
            self._state_directory = Path(self._temporary.name)
        return self._state_directory

    @property
    def stopping(self) -> bool:
        """A rehearsal asks the stage to stop once it has no more records."""
        return not self._records

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        record = self.receive()
        if record is None:
            raise StopIteration
        return record

    def receive(self) -> Optional[Record]:
        """The next record; None at the end."""
        self.done()
        if not self._records:
            return None
        self._in_hand = True
        return self._records.pop(0)

    try_receive = receive

    def send(self, flow: str, key: Bytes, payload: Bytes) -> None:
        """Keeps it in `sent`."""
        self._check_open()
        if self._outputs is not None and flow not in self._outputs:
            known = ", ".join(self._outputs) or "nothing"
            raise waldo.Failure(f"this stage does not send flow `{flow}`; the topology lets it send: {known}")
        self.sent.append(Record(flow, _bytes(key), _bytes(payload)))

    def try_send(self, flow: str, key: Bytes, payload: Bytes) -> bool:
        """There is always room."""
        self.send(flow, key, payload)
        return True

    def flush(self) -> None:
        """Nothing waits here."""
        self._check_open()

    def done(self) -> None:
        """Counts the record in hand as done."""
        self._check_open()
        self.handled += self._in_hand
        self._in_hand = False

    def finish(self) -> None:
        """Counts the record in hand as done, and ends."""
        if not self._finished:
            self.done()
        self._finished = True

    def close(self) -> None:
        """Ends; the record in hand doesn't count as done."""
        self._finished = True

    def _check_open(self) -> None:
        if self._finished:
            raise ValueError("the stage is finished")

    def _descriptors(self) -> List[int]:
        return []

    def _woke(self) -> None:
        pass


def _bytes(text: Bytes) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


try:
    import pytest
except ImportError:
    pass
else:

    @pytest.fixture
    def waldo_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Rehearsal]:
        """Makes a `Rehearsal`, which is what `waldo.stage()` then gives."""

        def make(records: Iterable[Tuple[str, Bytes, Bytes]] = (), **others: Any) -> Rehearsal:
            others.setdefault("state_directory", tmp_path)
            rehearsal = Rehearsal(records, **others)
            monkeypatch.setattr(waldo, "stage", lambda: rehearsal)
            return rehearsal

        return make
