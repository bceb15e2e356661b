"""Locust as people start it, with the lab's locustfile and with their own."""

import csv
import json
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from load_servers import answering, endless, requests, serve
from locust_command import ANSWER, OWN, command, environment, locust

from meshverdict.model.histogram import Histogram
from meshverdict.model.record_reader import read_record
from meshverdict.model.validity import check_load

APP = Path(__file__).parents[2] / "locustfiles" / "app.py"
MEMORY = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def peak_mb(tmp_path, file, *arguments):
    """Peak memory of the largest process of a headless run, in MB."""
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, *command(file, "--headless", "--only-summary", *arguments)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(ran.stdout.split()[1])


def counts(record):
    found = Counter()
    for second in record.seconds:
        found[second.name] += second.n
    return dict(found)


def test_an_open_loop_counts_the_same_in_record_and_csv(tmp_path, lab):
    """Case 1 at 100/s, case 2 at 2/s: all arrivals are sent, and Locust's own files say what the record says."""
    done = locust(
        tmp_path, APP, "-H", lab, "--rate", "100", "--rate-for", "case2=2", "--arrivals", "constant", "-t", "3s",
        "--csv", "out", "--html", "out.html", "--record", "load.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "load.jsonl")
    assert (record.missing, record.reason) == ([], "done")
    assert (record.header.arrivals, record.header.rate, record.header.rates) == (
        "constant",
        102.0,
        {"case2": 2.0},
    )
    assert sum(counts(record).values()) == 306
    assert counts(record)["/redis/GET/time"] == 6
    with (tmp_path / "out_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert {name: int(row["Request Count"]) for name, row in rows.items() if name != "Aggregated"} == counts(
        record
    )
    assert (tmp_path / "out.html").exists()


def test_without_a_rate_it_is_stock_locust(tmp_path, lab):
    """Users that wait for answers; the record says closed, has no lag, and its validity tells."""
    done = locust(tmp_path, APP, "-H", lab, "-u", "5", "-r", "5", "-t", "3s", "--record", "load.jsonl")
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "load.jsonl")
    assert (record.header.arrivals, record.header.rate, record.missing) == ("closed", None, [])
    assert all(second.lag is None for second in record.generator)
    assert int(re.search(r"Aggregated\s+(\d+)", done.stderr)[1]) == sum(counts(record).values()) > 20
    assert "closed-loop" in check_load(record).notes[0]


def test_tags_choose_the_case(tmp_path, lab):
    """case2 is a tag, as everywhere in Locust."""
    locust(tmp_path, APP, "-H", lab, "--rate", "50", "-t", "2s", "--tags", "case2", "--record", "load.jsonl")
    assert counts(read_record(tmp_path / "load.jsonl")).keys() == {"/redis/GET/time"}


def test_an_answer_that_is_not_the_services_fails_its_check(tmp_path):
    """A 200 with another body is a failed check, not goodput."""
    with serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as port:
        done = locust(
            tmp_path,
            APP,
            "-H",
            f"http://127.0.0.1:{port}",
            "--rate",
            "20",
            "-t",
            "2s",
            "--record",
            "load.jsonl",
        )
    assert done.returncode == 1
    assert {second.outcome for second in read_record(tmp_path / "load.jsonl").seconds} == {"check"}
    assert "the answer has no 'time'" in done.stderr


def test_the_record_alone_is_on_standard_output(tmp_path, lab):
    """With --record - every line of standard output is the record's; Locust's tables go to standard error."""
    done = locust(tmp_path, APP, "-H", lab, "--rate", "50", "-t", "2s", "--record", "-")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["format"] == "load/1"
    assert lines[-1]["lines"] == len(lines)
    assert "Aggregated" in done.stderr


def test_workers_make_one_record(tmp_path, own, lab):
    """Two processes and a master: every arrival once, in one record, with the statistics to match."""
    done = locust(
        tmp_path, own, "-H", lab, "--rate", "100", "--arrivals", "constant", "-t", "3s", "--processes", "2",
        "--record", "load.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "load.jsonl")
    assert (record.header.workers, record.missing) == (2, [])
    assert {second.w for second in record.generator} == {0, 1}
    assert counts(record) == {"/": 300}
    assert "300" in re.search(r"Aggregated.*", done.stderr)[0]


def test_independent_workers_share_the_load(tmp_path, own, lab):
    """As the pods of an indexed Job: each knows its part from the environment."""
    for index in range(2):
        locust(
            tmp_path, own, "-H", lab, "--rate", "50", "--arrivals", "constant", "-t", "2s", "--record", f"{index}.jsonl",
            MESHVERDICT_WORKERS="2", JOB_COMPLETION_INDEX=str(index),
        )  # fmt: skip
    record = read_record([tmp_path / "0.jsonl", tmp_path / "1.jsonl"])
    assert (record.missing, record.header.workers) == ([], 2)
    assert counts(record) == {"/": 100}


def test_a_stop_ends_the_record_properly(tmp_path, own, lab):
    """SIGTERM in the middle: what is under way is waited for, and the record has its end."""
    running = subprocess.Popen(
        command(own, "--headless", "-H", lab, "--rate", "100", "-t", "60s", "--record", "load.jsonl"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    record = tmp_path / "load.jsonl"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not record.exists() or len(record.read_bytes().splitlines()) < 4):
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    found = read_record(record)
    assert (found.missing, found.reason) == ([], "stopped")
    assert sum(second.scheduled for second in found.generator) == sum(second.n for second in found.seconds)


def test_the_engine_dies_with_locust(tmp_path, own, lab):
    """Kill -9 of Locust leaves no process behind."""
    running = subprocess.Popen(
        command(own, "--headless", "-H", lab, "--rate", "20", "-t", "60s"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not children.read_text().split():
        time.sleep(0.05)
    engine = int(children.read_text().split()[0])
    running.kill()
    running.wait(5)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and Path(f"/proc/{engine}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{engine}").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rate", "5"], 2, "no target for the load.*meshverdict up.*--host"),
        (["-H", "http://127.0.0.1:1", "--rate", "0"], 2, "--rate 0"),
        (["-H", "http://127.0.0.1:1", "--rate=-3"], 2, "--rate -3"),
        (["-H", "http://127.0.0.1:1", "--rate", "nan"], 2, "--rate nan"),
        (
            ["-H", "http://127.0.0.1:1", "--rate", "5", "--rate-for", "none=1"],
            2,
            "no task of this run has the tag",
        ),
        (["-H", "http://127.0.0.1:1", "--rate", "5", "--record", "/no/such/folder"], 3, "/no/such/folder"),
        (["-H", "http://127.0.0.1:1", "--rate", "5", "--share", "9/2"], 2, "--share 9/2"),
        (["-H", "http://name.invalid", "--rate", "5"], 2, "name.invalid"),
        (["-H", "http://127.0.0.1:1", "--rate", "5", "--record", "/dev/full"], 3, "No space left"),
        ([], 2, "no target"),
    ],
)
def test_bad_input_is_an_error_with_its_name(tmp_path, arguments, code, message):
    """Every message names what was wrong; no run that did nothing ends with 0."""
    done = locust(tmp_path, APP, "-t", "3s", *arguments)
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr


def test_a_trace_with_a_hole_is_refused(tmp_path, own):
    """By file and line."""
    (tmp_path / "trace").write_text("0,5\n2,5\n")
    done = locust(tmp_path, own, "-H", "http://127.0.0.1:1", "--rate", "trace:trace", "-t", "2s")
    assert done.returncode == 2
    assert "line 2: second 1 is missing" in done.stderr


def test_memory_is_bounded_while_nobody_answers(tmp_path, own):
    """A host that accepts and never answers: the run ends on time, all arrivals are counted, memory stays small."""
    own.write_text(own.read_text().replace("network_timeout = 5.0", "network_timeout = 1.0"))

    def mute(connection):
        for _ in requests(connection):
            pass

    with serve(mute) as port:
        began = time.monotonic()
        done = locust(
            tmp_path,
            own,
            "-H",
            f"http://127.0.0.1:{port}",
            "--rate",
            "300",
            "-t",
            "3s",
            "--record",
            "l.jsonl",
        )
    assert done.returncode == 1
    assert time.monotonic() - began < 8
    record = read_record(tmp_path / "l.jsonl")
    assert {second.outcome for second in record.seconds} == {"timeout"}
    assert sum(second.n for second in record.seconds) == sum(second.scheduled for second in record.generator)


def test_listeners_hear_of_every_request(tmp_path, lab):
    """Locust's request event still tells of single requests, with their due time."""
    file = tmp_path / "own.py"
    file.write_text(
        textwrap.dedent(OWN)
        + textwrap.dedent("""
        HEARD = []

        @events.request.add_listener
        def hear(request_type, name, response_time, response_length, exception, start_time, **_):
            HEARD.append(start_time)

        @events.test_stop.add_listener
        def tell(**_):
            gaps = [b - a for a, b in zip(HEARD, HEARD[1:])]
            print("HEARD", len(HEARD), round(min(gaps), 5), round(max(gaps), 5))
    """)
    )
    done = locust(tmp_path, file, "-H", lab, "--rate", "50", "--arrivals", "constant", "-t", "2s")
    assert "HEARD 100 0.02 0.02" in done.stdout


def listening(port):
    """The addresses, as the kernel writes them, on which somebody listens at a port."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {w[1].partition(":")[0] for w in lines if w[3] == "0A" and w[1].endswith(f":{port:04X}")}


def test_the_web_page_shows_what_the_record_says(tmp_path, own, lab):
    """Started from the web page: its numbers are the record's, within a bucket; a second run makes a new record.

    Without a word about hosts it listens on this machine's loopback only.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    running = subprocess.Popen(
        command(
            own,
            "-H",
            lab,
            "--web-port",
            str(port),
            "--rate",
            "80",
            "--record",
            "l.jsonl",
        ),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def call(path, **form):
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(url + path, data, timeout=5) as answer:  # noqa: S310
            return answer.read().decode()

    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                page = call("/")
                break
            except OSError:
                time.sleep(0.1)
        assert "rate" in page
        assert listening(port) == {"0100007F"}
        form = {
            "user_count": 1,
            "spawn_rate": 1,
            "host": lab,
            "rate": "120",
            "arrivals": "constant",
            "seed": "1",
        }
        assert json.loads(call("/swarm", **form))["success"]
        time.sleep(4)
        call("/stop", now=1)
        shown = json.loads(call("/stats/requests"))
    finally:
        running.terminate()
        running.wait(15)
    record = read_record(tmp_path / "l.jsonl")
    total = next(row for row in shown["stats"] if row["name"] == "Aggregated")
    latency = Histogram.merged(second.latency for second in record.seconds)
    assert record.header.rate == 120.0
    assert total["num_requests"] == latency.n > 300
    shown_median, median = total["median_response_time"], latency.quantile(0.5) / 1e3
    assert shown_median == pytest.approx(median, rel=0.01)


def test_bodies_without_end_are_counted_and_take_no_memory(tmp_path, own):
    """Fifty endless answers: each is cut off at its limit, and the generator stays near its usual size."""
    record = tmp_path / "load.jsonl"
    with serve(answering(ANSWER)) as port:
        usual = peak_mb(tmp_path, own, "--rate", "10", "-t", "1s", "--host", f"http://127.0.0.1:{port}")
    with serve(endless) as port:
        host = f"http://127.0.0.1:{port}"
        most = peak_mb(tmp_path, own, "--rate", "10", "-t", "5s", "--host", host, "--record", str(record))
    outcomes = Counter()
    for second in read_record(record).seconds:
        outcomes[second.outcome] += second.n
    assert set(outcomes) == {"invalid"}
    assert outcomes["invalid"] >= 45
    assert most < usual + 50  # five of them under way at once, 10 MB each at most
