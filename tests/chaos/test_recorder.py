"""What a recorder could not write, or did not live to write, spoils the run instead of going unnoticed."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshverdict.analysis.edge_lines import Place
from meshverdict.chaos import edges
from meshverdict.chaos.recorder import LineFile, Recorder


class Counting(Recorder):
    """Writes the number of each look; `stumble` is one at which it breaks."""

    def __init__(self, path, stumble=None):
        super().__init__("counting", path, every_s=0.01, patience_s=5)
        self.stumble = stumble
        self.looked = threading.Event()

    def look(self, number, *, last):
        """Break, or write the number."""
        if number == self.stumble:
            raise KeyError(number)
        self.write([{"look": number, "last": last}])
        if number >= 3:
            self.looked.set()


def test_looks_in_order_and_once_more_at_the_end(tmp_path):
    """Numbers from 0, and the last look comes after the block."""
    with Counting(tmp_path / "a.jsonl") as recorder:
        assert recorder.looked.wait(5)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["look"] for line in lines] == list(range(len(lines)))
    assert [line["last"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert recorder.failure is None


def test_what_cannot_be_written_is_told(tmp_path):
    """A path that is a folder: the file's name and the reason; nothing is raised."""
    with Counting(tmp_path) as recorder:
        pass
    assert recorder.failure == f"{tmp_path}: Is a directory"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_recorder_that_broke_is_told(tmp_path):
    """A thread that ended by an error of our own left a gap."""
    with Counting(tmp_path / "a.jsonl", stumble=1) as recorder:
        recorder._thread.join(5)
        assert recorder.failure == "counting: ended before the run did"


def test_lines_of_several_threads_stay_whole(tmp_path):
    """Every line is there, and is one line."""
    file = LineFile(tmp_path / "a.jsonl")
    text = b'"' + b"x" * 10_000 + b'"'
    threads = [threading.Thread(target=lambda: [file.add([text, text]) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.jsonl").read_bytes().splitlines() == [text] * 160
    assert (file.lines, file.failure) == (160, None)


def _pod(uid, name):
    return edges.Pod(uid, "app", "10.0.0.1", Place(f"app/{name}", None, sidecar=True), f"/{name}")


def test_a_pod_that_was_there_before_is_counted_from_its_first_reading(tmp_path, monkeypatch):
    """Also when it did not answer in the first round, and another did; one that came later counts from nothing."""
    log = edges.EdgeLog(None, ["app"], tmp_path / "telemetry.jsonl")
    old = [_pod("1", "quick"), _pod("2", "slow")]
    log._pods, log._old = old, frozenset(pod.uid for pod in old)
    counted, answers = [], {"/slow": None}
    monkeypatch.setattr(log, "_read", lambda pod: answers.get(pod.path, pod.path))
    monkeypatch.setattr(edges, "since", lambda before, now: counted.append((before, now)))
    monkeypatch.setattr(edges, "edge_lines", lambda *_: [])
    with ThreadPoolExecutor() as pool:
        log._round(pool)
        answers.clear()
        log._pods = [*old, _pod("3", "new")]
        log._round(pool)
    assert counted == [("/quick", "/quick"), ("/quick", "/quick"), ("/slow", "/slow"), (edges.EMPTY, "/new")]
    assert log.missed == 1
