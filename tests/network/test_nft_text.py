"""The ruleset as text, where the kernel alone cannot show the difference."""

from meshverdict.network.intervals import tiles
from meshverdict.network.nft import FlowLogging, NftSettings, render
from meshverdict.network.policy import compile_policies
from meshverdict.network.values import NodeNet, PodNet

PODS = [PodNet("x", "a", "10.244.1.1", "node-a"), PodNet("x", "b", "10.244.2.1", "node-b")]


def text(rules=(), node="node-a", **settings):
    manifest = {"metadata": {"name": "p", "namespace": "x"}, "spec": {"ingress": list(rules)}}
    compiled = compile_policies([manifest], PODS, {"x": {}})
    return render(NodeNet(node), pods=PODS, rules=compiled, settings=NftSettings(**settings)).text


def block(cidr, **port):
    return {"from": [{"ipBlock": {"cidr": cidr}}], "ports": [port]}


def test_a_node_judges_its_own_pods_only():
    """The other node's pod is in neither map."""
    assert "10.244.1.1 : goto of_ingress" in text()
    assert "10.244.2.1 : goto" not in text()


def test_no_flow_log_means_no_log_statement():
    """A rate limit goes with every one that is there."""
    assert "log prefix" not in text(flows=None)
    logged = [line for line in text(flows=FlowLogging(per_second=7)).splitlines() if "log prefix" in line]
    assert logged
    assert all("limit rate 7/second" in line and "group 5 snaplen 128" in line for line in logged)


def test_overlapping_blocks_and_port_ranges_become_tiles():
    """The kernel refuses overlapping ranges, so the set holds none."""
    rules = [block("10.0.0.0/8", port=80, endPort=90), block("10.1.0.0/16", port=85, endPort=95)]
    assert (
        "elements = { 10.0.0.0-10.255.255.255 . 80-84, 10.0.0.0-10.255.255.255 . 85-90, "
        "10.1.0.0-10.1.255.255 . 91-95 }" in text(rules)
    )


def test_ranges_that_overlap_too_much_stay_single_rules():
    """A hundred nested ranges would be thousands of tiles."""
    rules = [block(f"10.{k}.0.0/16", port=1000 - k, endPort=1100 + k) for k in range(100)]
    areas = [((k, k), (1000 - k, 1100 + k)) for k in range(100)]
    assert tiles(areas, limit=500) is None
    assert text(rules).count("ct reply proto-src 9") >= 90


def test_no_word_of_a_manifest_reaches_the_text():
    """Names, even malicious ones, are hashed."""
    evil = 'x"; flush ruleset; #'
    pods = [PodNet("x", evil, "10.244.1.1", "node-a", {evil: evil}, {evil: ("TCP", 80)})]
    manifest = {
        "metadata": {"name": evil, "namespace": "x"},
        "spec": {"podSelector": {"matchLabels": {evil: evil}}, "ingress": [{"ports": [{"port": evil}]}]},
    }
    ruleset = render(NodeNet("node-a"), pods=pods, rules=compile_policies([manifest], pods, {"x": {}}))
    assert "flush" not in ruleset.text
    assert list(ruleset.deciders.values()) == [(f"x/{evil}",)]
