"""A run reaches the cluster that was chosen and no other."""

import os

import pytest
import yaml
from chaosk8s import create_k8s_api_client
from kubernetes.config import kube_config

from meshverdict.chaos.cluster import KubeAccess, only_reaching
from meshverdict.chaos.kubeconfig import kubeconfig_of_context
from meshverdict.cli import main
from meshverdict.model.errors import LabError, UsageError


def kubeconfig(*contexts, **cluster):
    """A kubeconfig with these contexts, each leading to a server of its own."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": contexts[0],
        "contexts": [
            {"name": c, "context": {"cluster": f"{c}-cluster", "user": f"{c}-user"}} for c in contexts
        ],
        "clusters": [
            {"name": f"{c}-cluster", "cluster": {"server": f"https://{c}.invalid:6443", **cluster}}
            for c in contexts
        ],
        "users": [{"name": f"{c}-user", "user": {"token": f"{c}-token"}} for c in contexts],
    }


@pytest.fixture
def write(tmp_path):
    """Writes a kubeconfig and answers its path."""

    def write(value, name="config"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(value))
        return path

    return write


def test_named_context_travels_alone(write, tmp_path):
    """The file that the libraries get has no other cluster in it, so no mistake can lead there."""
    path = write(kubeconfig("prod", "lab", **{"certificate-authority": "ca.crt"}))
    made = kubeconfig_of_context("lab", tmp_path, str(path).replace("config", "config"))
    value = yaml.safe_load(made.read_text())
    assert value["current-context"] == "lab"
    assert [c["cluster"]["server"] for c in value["clusters"]] == ["https://lab.invalid:6443"]
    assert value["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "ca.crt")
    assert "prod" not in made.read_text()
    assert made.stat().st_mode & 0o777 == 0o600


def test_context_is_found_in_any_of_several_files(write, tmp_path):
    """KUBECONFIG may name several files."""
    first, second = write(kubeconfig("one"), "one"), write(kubeconfig("two"), "two")
    folder = tmp_path / "out"
    folder.mkdir()
    made = kubeconfig_of_context("two", folder, f"{first}:{second}:{tmp_path / 'missing'}")
    assert "https://two.invalid:6443" in made.read_text()


def test_unknown_context_lists_the_known_ones(write, tmp_path):
    """The message says what could have been meant."""
    path = write(kubeconfig("prod", "lab"))
    with pytest.raises(
        UsageError, match=r"MESHVERDICT_CONTEXT=labb: no such context .* \(known: prod, lab\)"
    ):
        kubeconfig_of_context("labb", tmp_path, str(path))


def test_libraries_lead_nowhere_until_a_cluster_is_chosen(monkeypatch):
    """With the aim nowhere, chaosk8s cannot make a client at all; afterwards everything is as it was."""
    monkeypatch.setenv("KUBECONFIG", "/somewhere/else")
    monkeypatch.setenv("KUBERNETES_CONTEXT", "prod")
    location = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    with only_reaching():
        assert "KUBERNETES_CONTEXT" not in os.environ
        with pytest.raises(Exception, match="Invalid kube-config"):
            create_k8s_api_client()
    assert os.environ["KUBECONFIG"] == "/somewhere/else"
    assert os.environ["KUBERNETES_CONTEXT"] == "prod"
    assert location == kube_config.KUBE_CONFIG_DEFAULT_LOCATION


def test_chaosk8s_follows_the_aim_although_the_default_was_frozen(write, monkeypatch):
    """`kubernetes` reads KUBECONFIG when it is imported; the aim reaches behind that."""
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(write(kubeconfig("decoy"), "decoy")))
    access = KubeAccess.open(write(kubeconfig("lab"), "lab"), kind="embedded")
    with only_reaching() as aim:
        aim.at_cluster(access)
        assert create_k8s_api_client().configuration.host == "https://lab.invalid:6443"


def test_other_cluster_under_the_same_aim_is_refused(write):
    """If chaosk8s would still go elsewhere, the run does not begin."""
    access = KubeAccess.open(write(kubeconfig("lab"), "lab"), kind="embedded")
    access.kubeconfig.write_text(yaml.safe_dump(kubeconfig("prod")))
    with only_reaching() as aim, pytest.raises(LabError, match=r"would talk to https://prod\.invalid:6443"):
        aim.at_cluster(access)


def test_proxy_of_the_environment_does_not_take_loopback_traffic(write, monkeypatch):
    """HTTP_PROXY is for the world outside; the embedded lab is on this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    value = kubeconfig("lab")
    value["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"
    access = KubeAccess.open(write(value), kind="embedded")
    with only_reaching() as aim:
        aim.at_cluster(access)
        assert "127.0.0.1" in create_k8s_api_client().configuration.no_proxy
    assert "NO_PROXY" not in os.environ


def test_broken_kubeconfig_is_named(tmp_path):
    """The message names the file."""
    path = tmp_path / "config"
    path.write_text("{")
    with pytest.raises(LabError, match=f"kubeconfig {path}: cannot be used"):
        KubeAccess.open(path, kind="embedded")


LEADS = "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
BROKEN = {
    "contexts is no list": ("contexts: 5\n", "no such context"),
    "a context is no mapping": ("contexts: [5]\n", "no such context"),
    "the context is empty": ("contexts: [{name: x}]\n", "context 'x' has no mapping `context`"),
    "no cluster": (LEADS + "clusters: 7\n", "its clusters have no 'c'"),
    "the cluster is empty": (
        LEADS + "clusters: [{name: c}]\nusers: [{name: u, user: {}}]\n",
        "cluster 'c' has no mapping `cluster`",
    ),
    "not text": ("\udcff\udcfe", "cannot be read"),
    "no YAML": ("a: [", "cannot be read"),
}


@pytest.mark.parametrize(("text", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_kubeconfig_is_an_error_that_names_the_entry(text, words, tmp_path, monkeypatch, capsys):
    """Whatever is in the file, a command answers with a message and exit code 2, as its user typed it."""
    path = tmp_path / "config"
    path.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert main(["clean", "--context", "x"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert str(path) in said
    assert "MESHVERDICT_CONTEXT" not in said
    monkeypatch.setenv("MESHVERDICT_CONTEXT", "x")
    assert main(["clean"]) == 2
    assert "--context" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["clean", "measure-zones", "doctor", "up", "down"])
def test_a_cluster_that_does_not_answer_is_named(command, write, monkeypatch, capsys):
    """No command ends in a traceback where a cluster cannot be reached; the variable names it as the option does."""
    value = kubeconfig("lab")
    value["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:9"}
    monkeypatch.setenv("KUBECONFIG", str(write(value)))
    assert main([command, "--context", "lab"]) == 3
    assert "context lab" in capsys.readouterr().err
    monkeypatch.setenv("MESHVERDICT_CONTEXT", "lab")
    code = main([command])
    said = capsys.readouterr().err
    if command in {"up", "down"}:  # these ask for the name itself
        assert code == 2
        assert f"meshverdict {command} --context NAME" in said
    else:
        assert code == 3
        assert "context lab" in said


@pytest.mark.parametrize("command", ["clean", "measure-zones", "doctor", "up", "down", "verdict", "sweep"])
def test_an_empty_name_is_no_wish_for_the_embedded_lab(command, capsys):
    """`--context "$UNSET"` must not stop, start or sweep another lab than the one that was meant."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--context", ""])
    assert ended.value.code == 2
    assert "the name is empty" in capsys.readouterr().err
