"""The load in a cluster, as far as it can be told without one: objects, logs that break, summaries."""

import json
import random
import threading
from pathlib import Path

import pytest

from meshverdict.load import job
from meshverdict.load.collector import Collector
from meshverdict.load.follow import follow, lines
from meshverdict.load.spec import LoadSpec
from meshverdict.load.writer import open_new
from meshverdict.model.errors import RecordError, UsageError
from meshverdict.model.histogram import Histogram
from meshverdict.model.record import End, GeneratorSecond, Header, Second
from meshverdict.model.record_reader import read_record

NOW = 1_790_000_000


def test_the_job_says_everything_about_its_load():
    """Indexed, never restarted, without a sidecar or a token, with what was asked for beside it."""
    spec = LoadSpec(
        duration_s=30, rate=100, rates={"case2": 2}, seed=7, workers=4, zone="zone-b", tags=("case1", "case2"), deadline_ms=500
    )  # fmt: skip
    made = job.job(spec)
    pod = made["spec"]["template"]["spec"]
    assert made["spec"]["completionMode"] == "Indexed"
    assert (made["spec"]["completions"], made["spec"]["parallelism"], made["spec"]["backoffLimit"]) == (
        4,
        4,
        0,
    )
    assert pod["nodeSelector"] == {"topology.kubernetes.io/zone": "zone-b"}
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
    assert made["spec"]["template"]["metadata"]["annotations"] == {"meshverdict.io/priority": "fifo"}
    assert pod["containers"][0]["env"] == [{"name": "MESHVERDICT_WORKERS", "value": "4"}]
    written = json.loads(made["metadata"]["annotations"][job.SPEC_ANNOTATION])
    assert (written["rate"], written["workers"], written["zone"]) == (100, 4, "zone-b")
    assert job.namespace(spec)["metadata"]["labels"] == {"name": "load", "meshverdict.io/lab": "true"}


def test_the_command_line_of_an_open_loop():
    """Rates, seed and tags go to every worker alike; a worker knows its part from the environment."""
    spec = LoadSpec(duration_s=29.2, rate="ramp:1:9:5", rates={"case2": 2}, exclude_tags=("slow",), seed=3)
    text = " ".join(spec.arguments("/l.py"))
    assert "--rate ramp:1:9:5 --rate-for=case2=2" in text
    assert "--run-time 30s" in text
    assert "--seed 3" in text
    assert "--exclude-tags slow" in text
    assert "--record -" in text
    assert "--users" not in text


def test_the_command_line_of_a_closed_loop():
    """Users are shared among the workers, and there is no rate."""
    text = " ".join(LoadSpec(duration_s=5, arrivals="closed", users=10, workers=2).arguments("/l.py"))
    assert "--users 5" in text
    assert "--rate" not in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"duration_s": 0, "rate": 1}, "duration_s"),
        ({"duration_s": float("nan"), "rate": 1}, "duration_s"),
        ({"duration_s": 1}, "rate is missing"),
        ({"duration_s": 1, "rate": 0}, "rate 0"),
        ({"duration_s": 1, "rate": -1.0}, "rate -1"),
        ({"duration_s": 1, "rate": float("nan")}, "rate nan"),
        ({"duration_s": 1, "rate": 1, "arrivals": "closed"}, "not a rate"),
        ({"duration_s": 1, "rate": 1, "arrivals": "bursty"}, "arrivals 'bursty'"),
        ({"duration_s": 1, "rate": 1, "workers": 0}, "workers"),
        (
            {"duration_s": 1, "arrivals": "closed", "users": 10, "workers": 4},
            "users 10: as many for each of 4",
        ),
        ({"duration_s": 1, "rate": 1, "name": "A b"}, "name"),
        ({"duration_s": 1, "rates": {"case2": 0}}, "rates"),
        ({"duration_s": 1, "rate": 1, "deadline_ms": 0}, "deadline_ms"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(given, message):
    """Before anything is created, naming the field."""
    with pytest.raises(UsageError, match=message):
        LoadSpec(**given)


def test_a_locustfile_too_large_for_a_config_map_is_refused():
    """The message says how large it is and what to do."""
    with pytest.raises(UsageError, match="2000000 bytes"):
        job.config_map(LoadSpec(duration_s=1, rate=1), "x" * 2_000_000)


def log_of(w, workers, seconds):
    """One worker's log, with the time at which each line was printed."""
    latency = Histogram(counts={600: 5})
    found = [(NOW, Header(NOW, 1, "poisson", 10.0, None, workers, "l.py", "http://x", w=w))]
    for t in range(NOW, NOW + seconds):
        found += [(t + 1, Second(t, w, name, "ok", 200, 5, latency)) for name in ("/a", "/b")]
        found.append(
            (t + 1, GeneratorSecond(t, w, 10, 10, 0, 0, 1, Histogram(counts={300: 10}), 0.1, "normal"))
        )
    found.append((NOW + seconds, End(NOW + seconds, "done", len(found) + 1, w)))
    return [(t, json.dumps(line.as_json()).encode() + b"\n") for t, line in found]


class FlakyLog:
    """A pod's log over connections that break anywhere, also in the middle of a line."""

    def __init__(self, log, seed):
        self.log = log
        self.source = random.Random(seed)
        self.opened = 0

    def open(self, since):
        """Chunks of what was printed in the last *since* seconds."""
        self.opened += 1
        # The server counts from its own now: here, the end of the log.
        first = 0 if since is None else self.log[-1][0] - since
        text = b"warning\n" + b"".join(line for t, line in self.log if t >= first)
        at, limit = 0, self.source.randrange(len(text) + 400)
        while at < len(text):
            size = self.source.randrange(1, 900)
            if at + size > limit and self.opened < 40:
                raise ConnectionResetError("lost")
            yield text[at : at + size]
            at += size


@pytest.mark.parametrize("seed", range(20))
def test_a_log_that_breaks_again_and_again_loses_no_second(tmp_path, monkeypatch, seed):
    """Two workers' logs over connections that break at random places make one whole record, each line once."""
    monkeypatch.setattr("meshverdict.load.follow._PAUSE_S", 0.0)
    monkeypatch.setattr("meshverdict.load.follow.time.time", lambda: NOW + 30)
    descriptor, writer = open_new(tmp_path / "load.jsonl")
    assert descriptor > 2
    collector = Collector(writer, 2, 30)
    logs = [FlakyLog(log_of(w, 2, 30), seed * 2 + w) for w in range(2)]
    threads = [
        threading.Thread(target=follow, args=(log.open, collector.feed, lambda: True, threading.Event()))
        for log in logs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    summary = collector.finish(stopped=False)
    assert (summary.reason, summary.missing, summary.requests) == ("done", [], 600)
    record = read_record(tmp_path / "load.jsonl")
    assert (record.missing, record.reason, record.junk) == ([], "done", 0)
    assert sum(second.n for second in record.seconds) == 600
    assert len(record.generator) == 60
    assert sum(log.opened for log in logs) > 2


def test_a_log_without_its_beginning_leaves_a_cut_record(tmp_path):
    """A log that was rotated has its end line, and is not whole: whoever reads the record alone must see that."""
    _, writer = open_new(tmp_path / "load.jsonl")
    collector = Collector(writer, 1, 30)
    whole = log_of(0, 1, 5)
    for _, line in [whole[0], *whole[7:]]:
        collector.feed(line)
    assert collector.finish(stopped=False).missing != []
    assert read_record(tmp_path / "load.jsonl").missing != []


def test_a_worker_that_dies_leaves_a_cut_record(tmp_path):
    """Without its end line the record has none either, and the summary says who is missing."""
    _, writer = open_new(tmp_path / "load.jsonl")
    collector = Collector(writer, 2, 30)
    for _, line in [*log_of(0, 2, 3), *log_of(1, 2, 3)[:-1]]:
        collector.feed(line)
    summary = collector.finish(stopped=False)
    assert (summary.reason, summary.missing) == ("cut", ["worker 1: no end line, its record was cut"])
    assert read_record(tmp_path / "load.jsonl").reason == "cut"


def test_progress_is_of_the_last_whole_second(tmp_path):
    """Rate, errors and endpoints of the last second that is whole, and time left."""
    _, writer = open_new(tmp_path / "load.jsonl")
    collector = Collector(writer, 1, 30)
    assert collector.progress().state == "starting"
    for _, line in log_of(0, 1, 3)[:-1]:
        collector.feed(line)
    progress = collector.progress()
    assert (progress.state, progress.rate, progress.error_share) == ("running", 10.0, 0.0)
    assert progress.by_name == {"/a": (5, 0), "/b": (5, 0)}


def test_a_run_folder_takes_one_record(tmp_path):
    """A second load does not write over the first one's record."""
    open_new(tmp_path / "load.jsonl")
    with pytest.raises(RecordError, match="takes one record"):
        open_new(tmp_path / "load.jsonl")


def test_lines_come_whole():
    """However chunks are cut."""
    assert list(lines([b"a", b"b\nc", b"\n", b"", b"d\ne"])) == [b"ab", b"c", b"d", b"e"]


def test_the_dockerfile_runs_what_the_job_calls():
    """The image for real clusters starts Locust, as the Job's arguments expect."""
    text = (Path(job.__file__).parent / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["python", "-m", "locust"]' in text
