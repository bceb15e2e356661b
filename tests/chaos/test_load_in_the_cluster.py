"""What a load that may not begin leaves alone, in a real cluster."""

import contextlib

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from meshverdict.load.driver import start_load
from meshverdict.load.errors import LoadError
from meshverdict.load.spec import LoadSpec


def job_of(name, namespace):
    """Somebody's Job."""
    containers = [{"name": "c", "image": "busybox", "command": ["true"]}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": containers}}},
    }


@pytest.fixture(scope="module")
def objects(access):
    """A Job and a ConfigMap of somebody, called like a load, in a namespace that is not the lab's and in one that is."""
    batch = client.BatchV1Api(access.api)
    metadata = {"name": "foreign"}
    access.core.create_namespace({"metadata": metadata})
    made = [("foreign", "load"), ("load", "mine")]
    for namespace, name in made:
        access.core.create_namespaced_config_map(namespace, {"metadata": {"name": name}, "data": {"k": "v"}})
        batch.create_namespaced_job(namespace, job_of(name, namespace))
    yield made
    for namespace, name in made:
        for delete in (access.core.delete_namespaced_config_map, batch.delete_namespaced_job):
            with contextlib.suppress(ApiException):  # it failed to be left alone
                delete(name, namespace, propagation_policy="Background")
    access.core.delete_namespace("foreign")


@pytest.mark.parametrize(
    ("namespace", "name", "words"),
    [
        ("foreign", "load", "namespace foreign is not labelled"),
        ("load", "mine", "Job load/mine is no load"),
    ],
)
def test_a_load_that_is_refused_deletes_nothing_of_others(access, objects, tmp_path, namespace, name, words):
    """Neither in a namespace that is not the lab's, nor what only has its name."""
    spec = LoadSpec(duration_s=1, rate=1, name=name, namespace=namespace, host="http://127.0.0.1:1")
    with pytest.raises(LoadError, match=words):
        start_load(access.api, spec, tmp_path)
    for where, called in objects:
        assert access.core.read_namespaced_config_map(called, where).data == {"k": "v"}
        found = client.BatchV1Api(access.api).read_namespaced_job(called, where)
        assert found.metadata.deletion_timestamp is None
