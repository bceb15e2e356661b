"""The CRDs say what is enforced, and the package carries them."""

from __future__ import annotations

import pytest

from meshverdict.mesh.definitions import DEFINITIONS, build, manifests, text

from .make_crds import FOLDER


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind)
def test_the_files_are_those_of_the_shapes(definition):
    """A change of the shapes is in the files too: run ``python -m tests.mesh.make_crds``."""
    assert (FOLDER / f"{definition.name}.yaml").read_text() == text(definition)


def test_the_package_carries_what_is_built():
    """Reading the files gives the CRDs."""
    assert manifests() == [build(definition) for definition in DEFINITIONS]


def test_kubectl_shows_istios_columns():
    """Short names and columns are Istio's."""
    shown = {d.kind: (d.short, [title for title, _ in d.columns]) for d in DEFINITIONS}
    assert shown["VirtualService"] == ("vs", ["Gateways", "Hosts"])
    assert shown["DestinationRule"] == ("dr", ["Host"])
    assert shown["PeerAuthentication"] == ("pa", ["Mode"])
    assert shown["AuthorizationPolicy"] == ("ap", ["Action"])


def test_every_version_is_served_and_one_is_stored():
    """Files for v1beta1 and v1alpha3 work as well."""
    for crd in manifests():
        versions = crd["spec"]["versions"]
        assert all(v["served"] and v["subresources"] == {"status": {}} for v in versions)
        assert [v["storage"] for v in versions] == [True] + [False] * (len(versions) - 1)
