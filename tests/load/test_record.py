"""The record's lines and its reader: junk, cuts, repetitions, workers, sizes."""

import io
import itertools
import json
import random
import subprocess
import sys

import pytest

from meshverdict.model.errors import RecordError
from meshverdict.model.histogram import Histogram
from meshverdict.model.record import End, GeneratorSecond, Header, Second, parse_line
from meshverdict.model.record_reader import LONGEST_LINE, RecordReader, lines_of, read_record


def header(workers=1, w=None, **given):
    values = {"start": 1.0, "seed": 1, "arrivals": "poisson", "rate": 100.0, "deadline_ms": None}
    return Header(
        **(values | {"workers": workers, "locustfile": "app.py", "host": "http://x", "w": w} | given)
    )


def second(t, w=0, name="/a", outcome="ok", status=200, values=(1000.0, 2000.0)):
    histogram = Histogram()
    histogram.update(values)
    return Second(t, w, name, outcome, status, histogram.n, histogram)


def generator(t, w=0):
    return GeneratorSecond(t, w, 2, 2, 0, 0, 1, Histogram(counts={300: 2}), 0.1, "fifo")


def worker_log(w, workers, times):
    lines = [header(workers, w)]
    for t in times:
        lines += [second(t, w), second(t, w, outcome="http", status=502), generator(t, w)]
    lines.append(End(times[-1] + 1.0, "done", len(lines) + 1, w))
    return [json.dumps(line.as_json()).encode() + b"\n" for line in lines]


def read(lines):
    reader = RecordReader()
    return list(reader.read(lines)), reader


@pytest.mark.parametrize(
    "line",
    [
        header(),
        header(4, 2, rates={"case2": 2.0}, shape="ramp:1:2:3"),
        header(arrivals="closed", seed=None, rate=None),
        second(5),
        generator(5),
        End(9.5, "stopped", 12),
        End(9.5, "crashed", 12, 3),
    ],
)
def test_every_line_is_read_as_it_was_written(line):
    """A line survives JSON unchanged."""
    assert parse_line(json.loads(json.dumps(line.as_json()))) == line


def test_the_example_of_the_format_is_read():
    """The lines of docs/formats are lines of the record; unknown keys are ignored."""
    lines = [
        (
            '{"format": "load/1", "start": 1790000000, "seed": 1, "arrivals": "poisson", "rate": 100, "deadline_ms": 500,'
            ' "ratio": 1.01, "workers": 1, "locustfile": "app.py", "host": "http://x", "new": 1}'
        ),
        (
            '{"t": 1790000000, "w": 0, "name": "/count/get", "outcome": "ok", "status": 200, "n": 3,'
            ' "latency": {"i": [600, 700], "c": [2, 1]}, "new": {}}'
        ),
        (
            '{"t": 1790000000, "w": 0, "generator": {"scheduled": 3, "sent": 3, "dropped": 0, "in_flight": 0,'
            ' "connections": 2, "lag": {"i": [300], "c": [3]}, "cpu": 0.41, "priority": "fifo"}}'
        ),
        '{"end": 1790000001, "reason": "done", "lines": 3}',
    ]
    found, reader = read(lines)
    assert len(found) == 4
    assert (reader.missing(), reader.junk) == ([], 0)


def test_what_others_print_is_counted_and_left_out():
    """Warnings, broken JSON and JSON of another kind are junk; empty lines are nothing."""
    noise = [
        b"WARNING: slow\n",
        b'{"half": \n',
        b'{"level": "info"}\n',
        b"\n",
        b"[1]\n",
        b'{"t": 1}\n',
        b"{" * 5000,
    ]
    log = worker_log(0, 1, [1, 2])[: len(noise)]
    found, reader = read(itertools.chain.from_iterable(zip(log, noise, strict=False)))
    assert len(found) == len(log)
    assert reader.junk == 6


def test_a_log_read_again_from_an_earlier_moment_counts_once():
    """After a lost connection the reader drops the seconds it has, and loses none."""
    log = worker_log(0, 1, range(1, 20))
    for cut in range(1, len(log)):
        for back in (0, 1, 4, 50):
            found, reader = read([*log[:cut], *log[max(0, cut - back) :]])
            assert [json.dumps(line.as_json()) for line in found] == [
                json.dumps(json.loads(line)) for line in log
            ], (cut, back)
            assert reader.missing() == []


def test_four_workers_merged_equal_one_recorder():
    """Whatever the order of their lines, the merged histogram is exactly that of all samples."""
    source = random.Random(7)
    samples = [[source.lognormvariate(7, 1) for _ in range(500)] for _ in range(4)]
    logs = []
    for w, values in enumerate(samples):
        lines = [header(4, w), second(1, w, values=values[:200]), second(2, w, values=values[200:])]
        lines.append(End(3.0, "done", 4, w))
        logs.append([json.dumps(line.as_json()) for line in lines])
    mixed = [line for row in zip(*logs, strict=True) for line in row]
    found, reader = read(mixed)
    merged = Histogram.merged(line.latency for line in found if isinstance(line, Second))
    one = Histogram()
    one.update(value for values in samples for value in values)
    assert merged == one
    assert reader.missing() == []


def test_a_record_without_its_end_was_cut():
    """No end line, or one worker's missing, is said; so is a lost line."""
    log = worker_log(0, 1, [1, 2, 3])
    assert "cut" in read(log[:-1])[1].missing()[0]
    assert read(log[:-1])[1].reason() == "cut"
    two = [*worker_log(0, 2, [1]), *worker_log(1, 2, [1])[:-1]]
    assert read(two)[1].missing() == ["worker 1: no end line, its record was cut"]
    del log[3]
    assert "1 of 11 lines are missing" in read(log)[1].missing()[0]


def test_the_worst_reason_counts():
    """One crashed worker makes a crashed load."""
    lines = [json.dumps(line.as_json()) for line in (header(2, 0), End(2, "done", 2, 0), header(2, 1))]
    _, reader = read([*lines, json.dumps(End(2, "crashed", 2, 1).as_json())])
    assert reader.reason() == "crashed"


def test_another_format_is_refused_by_name():
    """load/2 is not misread as load/1."""
    with pytest.raises(RecordError, match="load/2"):
        read([json.dumps(header().as_json() | {"format": "load/2"})])


def test_a_file_that_is_no_record_is_refused(tmp_path):
    """Missing file, empty file, another file."""
    (tmp_path / "empty").write_text("")
    (tmp_path / "other").write_text('{"a": 1}\n')
    for name in ("nothing", "empty", "other"):
        with pytest.raises(RecordError):
            read_record(tmp_path / name)


def test_numbers_that_contradict_each_other_are_junk():
    """A count that is not the histogram's is not believed."""
    line = second(1).as_json() | {"n": 99}
    _, reader = read([json.dumps(header().as_json()), json.dumps(line)])
    assert reader.junk == 1


def test_a_line_without_end_does_not_fill_the_memory():
    """Of an endless line only the beginning is kept."""
    file = io.BytesIO(b"x" * (3 * LONGEST_LINE) + b"\n" + worker_log(0, 1, [1])[0])
    assert next(len(line) for line in lines_of(file)) == LONGEST_LINE + 1
    file.seek(0)
    _, reader = read(lines_of(file))
    assert reader.header is not None


@pytest.mark.slow
def test_ten_million_samples_are_summarised_in_two_seconds_and_400_mb(tmp_path):
    """A record of 10 M samples (20 minutes at 8,000/s, three endpoints) is read and summarised quickly."""
    source = random.Random(1)
    path = tmp_path / "load.jsonl"
    total, lines = 0, 1
    with path.open("w") as file:
        file.write(json.dumps(header().as_json()) + "\n")
        spread = [int(source.gauss(750, 60)) for _ in range(20_000)]
        for t in range(1250):
            for name in ("/count/get", "/count/set", "/redis/GET/time"):
                histogram = Histogram()
                start = source.randrange(17_000)
                for index in spread[start : start + 2667]:
                    histogram.counts[index] = histogram.counts.get(index, 0) + 1
                total += histogram.n
                file.write(json.dumps(Second(t, 0, name, "ok", 200, histogram.n, histogram).as_json()) + "\n")
                lines += 1
            file.write(json.dumps(generator(t).as_json()) + "\n")
            lines += 1
        file.write(json.dumps(End(1250, "done", lines + 1).as_json()) + "\n")
    assert total > 10_000_000
    program = (
        "import sys, time; from meshverdict.model.record_reader import read_record;"
        "from meshverdict.model.histogram import Histogram; began = time.process_time();"
        "r = read_record(sys.argv[1]); h = Histogram.merged(s.latency for s in r.seconds);"
        "q = h.quantiles([0.5, 0.99]); print(h.n, time.process_time() - began,"
        # Not ru_maxrss, which an exec takes over from the process that was forked.
        "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    ).stdout
    count, seconds, megabytes = (float(x) for x in out.split())
    assert count == total
    assert seconds <= 2.0
    assert megabytes <= 400
