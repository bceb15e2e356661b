"""The order in which a sidecar's files are replaced, and how their taking hold is known."""

from __future__ import annotations

from meshverdict.mesh.convergence import pending, rejections, warming
from meshverdict.mesh.files import endpoint_file, replacement, resource_file, route_file


def _set(*clusters, version="1"):
    return [
        *(resource_file(endpoint_file("/f", c), [{"cluster_name": c, "v": version}]) for c in clusters),
        resource_file("/f/cds.json", [{"name": c} for c in clusters]),
        resource_file(route_file("/f", "80"), [{"name": "80", "to": list(clusters)}]),
        resource_file("/f/lds.json", [{"name": "virtualOutbound", "v": version}]),
    ]


def _names(steps):
    return [[(step.path.rpartition("/")[2], step.file is not None) for step in stage] for stage in steps]


def test_what_is_new_comes_before_what_names_it():
    """Endpoints and clusters, then routes, then listeners."""
    assert _names(replacement([], _set("a"))) == [
        [("eds-a.json", True), ("cds.json", True)],
        [("rds-80.json", True)],
        [("lds.json", True)],
    ]


def test_what_is_the_same_is_left_alone():
    """No step without a change."""
    assert replacement(_set("a"), _set("a")) == []


def test_a_cluster_goes_after_the_route_that_named_it():
    """The clusters' file keeps the old one until routes are replaced; its endpoints go last."""
    steps = replacement(_set("a", "b"), _set("b", "c"))
    assert _names(steps) == [
        [("eds-c.json", True), ("cds.json", True)],
        [("rds-80.json", True)],
        [("cds.json", True)],
        [("eds-a.json", False)],
    ]
    assert [c["name"] for c in steps[0][1].file.resources] == ["b", "c", "a"]
    assert [c["name"] for c in steps[2][0].file.resources] == ["b", "c"]


def test_no_two_resources_share_a_file():
    """Cluster names differ in characters that file names cannot have."""
    names = ["outbound|80|v1|a.b.svc.cluster.local", "outbound|80||a.b.svc.cluster.local", "inbound|80||"]
    long = [f"outbound|{port}||{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.com" for port in (80, 81)]
    assert len({endpoint_file("/f", name) for name in [*names, *long]}) == 5
    assert all(len(endpoint_file("", name).encode()) < 250 for name in long)


def test_versions_tell_what_is_live():
    """A file is pending until Envoy names its version."""
    files = _set("a")
    live = {f.name: f.version for f in files}
    stats = "\n".join(
        [
            f'cluster.a.version_text: "{live["eds-a.json"]}"',
            f'cluster_manager.cds.version_text: "{live["cds.json"]}"',
            'http.outbound_0.0.0.0_80.rds.80.version_text: "old"',
            f'listener_manager.lds.version_text: "{live["lds.json"]}"',
            "listener_manager.lds.update_rejected: 0",
            "cluster_manager.cds.update_rejected: 2",
            "cluster_manager.cds.update_failure: 1",
            "listener_manager.lds.update_failure: 1",
            "cluster_manager.warming_clusters: 1",
            "listener_manager.total_listeners_warming: 2",
        ]
    )
    assert pending(files, stats) == ["rds-80.json"]
    assert warming(stats) == 3
    assert rejections(stats) == {"cluster_manager.cds": 3, "listener_manager.lds": 1}
