"""The redirect rules: what they say, and that nftables takes them."""

from __future__ import annotations

import os

import pytest

from meshverdict.mesh.capture import TABLE, Capture, render
from meshverdict.runtime.nftables import Nftables

from .lab import have_everything, new_namespace

EVERYTHING = Capture(
    excluded_inbound_ports=(9090,),
    excluded_outbound_ports=(443, 6443),
    excluded_outbound_ranges=("172.31.0.0/16", "172.31.4.0/24"),
    direct_sources=("169.254.1.1",),
)


def test_exclusions_are_in_the_rules():
    """Ports and networks of the pod's annotations pass by the sidecar."""
    text = render(EVERYTHING)
    assert "tcp dport { 9090, 15000, 15008, 15020, 15021, 15090 } return" in text
    assert "tcp dport { 443, 6443 } return" in text
    assert "ip daddr { 172.31.0.0/16 } return" in text
    assert "ip saddr { 169.254.1.1/32 } return" in text


def test_one_direction_alone():
    """Without inbound capture nothing is redirected to 15006."""
    assert "15006" not in render(Capture(inbound=False))
    assert "15001" not in render(Capture(outbound=False))


@pytest.mark.parametrize(
    "wrong", [{"excluded_inbound_ports": (0,)}, {"excluded_outbound_ranges": ("x; drop",)}]
)
def test_text_of_a_request_cannot_become_a_rule(wrong):
    """Values are parsed, never pasted."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is Python's
        render(Capture(**wrong))


@pytest.mark.root
@pytest.mark.skipif(not have_everything(), reason="needs root")
def test_nftables_takes_the_rules_twice():
    """The second load replaces the first."""
    namespace = new_namespace()
    nft = Nftables(namespace)
    for capture in (EVERYTHING, Capture()):
        nft.run(render(capture))
    listed = nft.run(f"list table ip {TABLE}")
    nft.close()
    os.close(namespace)
    assert listed.count("redirect to :15001") == 1
    assert "9090" not in listed
