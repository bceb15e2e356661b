"""Invariants of NetworkPolicy over random policies, pods and namespaces."""

import ipaddress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshverdict.network.nft import render
from meshverdict.network.policy import compile_policies, merge
from meshverdict.network.reachability import predict
from meshverdict.network.values import NodeNet, PodNet

KEYS, VALUES = ["app", "tier"], ["a", "b"]
NAMESPACES = ["x", "y"]
PORTS = [("TCP", 80), ("TCP", 81), ("UDP", 80)]
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))


@st.composite
def selectors(draw):
    selector = {}
    if draw(st.booleans()):
        selector["matchLabels"] = draw(labels)
    if draw(st.booleans()):
        operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
        expression = {
            "key": draw(st.sampled_from([*KEYS, "kubernetes.io/metadata.name"])),
            "operator": operator,
        }
        if operator in {"In", "NotIn"}:
            expression["values"] = draw(
                st.lists(st.sampled_from([*VALUES, *NAMESPACES]), min_size=1, max_size=2)
            )
        selector["matchExpressions"] = [expression]
    return selector


@st.composite
def peers(draw):
    if draw(st.integers(0, 3)) == 0:
        cidr = draw(st.sampled_from(["10.244.0.0/16", "10.244.1.0/30", "0.0.0.0/0", "10.244.1.3/32", "::/0"]))
        block = {"cidr": cidr}
        if cidr in {"10.244.0.0/16", "0.0.0.0/0"} and draw(st.booleans()):
            block["except"] = draw(st.lists(st.sampled_from(["10.244.1.0/31", "10.244.1.4/30"]), min_size=1))
        return {"ipBlock": block}
    kinds = draw(
        st.sampled_from([("podSelector",), ("namespaceSelector",), ("podSelector", "namespaceSelector")])
    )
    return {kind: draw(selectors()) for kind in kinds}


ports = st.one_of(
    st.builds(lambda p: {"protocol": p}, st.sampled_from(["TCP", "UDP"])),
    st.builds(
        lambda p, n: {"protocol": p, "port": n},
        st.sampled_from(["TCP", "UDP"]),
        st.sampled_from([80, 81, "web"]),
    ),
    st.just({"port": 79, "endPort": 80}),
)


@st.composite
def rules(draw, side):
    rule = {}
    if draw(st.booleans()):
        rule[side] = draw(st.lists(peers(), max_size=2))
    if draw(st.booleans()):
        rule["ports"] = draw(st.lists(ports, max_size=2))
    return rule


@st.composite
def policies(draw):
    found = []
    for number in range(draw(st.integers(0, 4))):
        spec = {"podSelector": draw(selectors())}
        for key, side in (("ingress", "from"), ("egress", "to")):
            if draw(st.booleans()):
                spec[key] = draw(st.lists(rules(side), max_size=2))
        if draw(st.booleans()):
            spec["policyTypes"] = draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
        metadata = {"name": f"p{number}", "namespace": draw(st.sampled_from(NAMESPACES))}
        found.append({"metadata": metadata, "spec": spec})
    return found


@st.composite
def clusters(draw):
    pods = [
        PodNet(
            draw(st.sampled_from(NAMESPACES)),
            f"pod{number}",
            f"10.244.1.{number}",
            "node-a",
            draw(labels),
            draw(st.sampled_from([{}, {"web": ("TCP", 80)}, {"web": ("UDP", 80)}, {"web": ("TCP", 81)}])),
        )
        for number in range(1, 5)
    ]
    return pods, {name: draw(labels) for name in NAMESPACES}


quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table(manifests, cluster):
    pods, namespaces = cluster
    compiled = compile_policies(manifests, pods, namespaces)
    return {
        (a.key, b.key, *port): predict(compiled, a, b, *port).allowed
        for a in pods
        for b in pods
        for port in PORTS
    }


@quick
@given(policies(), clusters())
def test_prediction_is_the_definition_read_aloud(manifests, cluster):
    """The compiled sets decide as the API's text does, evaluated literally for each pair."""
    pods, namespaces = cluster
    literal = {
        (a.key, b.key, *port): a is b
        or (
            literally(manifests, namespaces, "egress", a, b, b, port)
            and literally(manifests, namespaces, "ingress", b, a, b, port)
        )
        for a in pods
        for b in pods
        for port in PORTS
    }
    assert literal == table(manifests, cluster)


@quick
@given(policies(), policies(), clusters())
def test_a_second_policy_only_isolates_or_admits(first, second, cluster):
    """Under more policies, a pod isolated before loses nothing: what was admitted stays admitted."""
    second = [{**p, "metadata": {**p["metadata"], "name": f"second-{i}"}} for i, p in enumerate(second)]
    pods, namespaces = cluster
    before, after = (compile_policies(m, pods, namespaces) for m in (first, first + second))
    for a in pods:
        for b in pods:
            for port in PORTS:
                was, now = predict(before, a, b, *port), predict(after, a, b, *port)
                for old, new in ((was.egress, now.egress), (was.ingress, now.ingress)):
                    assert new.isolated or not old.isolated
                    assert new.allowed or not (old.isolated and old.allowed)


@quick
@given(policies(), clusters(), st.randoms())
def test_the_order_of_policies_does_not_matter(manifests, cluster, random):
    """Neither for the table nor for the text of the ruleset."""
    pods, namespaces = cluster
    shuffled = random.sample(manifests, len(manifests))
    texts = [
        render(NodeNet("node-a"), pods=pods, rules=compile_policies(m, pods, namespaces)).text
        for m in (manifests, shuffled)
    ]
    assert table(manifests, cluster) == table(shuffled, cluster)
    assert texts[0] == texts[1]


@quick
@given(policies(), clusters())
def test_merged_clauses_admit_what_the_clauses_admitted(manifests, cluster):
    """Merging saves rules and changes no verdict."""
    pods, namespaces = cluster
    for policy in compile_policies(manifests, pods, namespaces).policies:
        merged = merge(policy.clauses)
        assert len(merged) <= len(policy.clauses)
        for a in pods:
            for b in pods:
                for port in PORTS:
                    ends = (a.ip, b.ip, *port)
                    assert any(c.admits(*ends) for c in policy.clauses) == any(
                        c.admits(*ends) for c in merged
                    )


def literally(manifests, namespaces, direction, pod, peer, destination, port):
    """One end's verdict, by the words of the API reference and nothing clever."""
    isolated = False
    for manifest in manifests:
        spec = manifest["spec"]
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        selected = manifest["metadata"]["namespace"] == pod.namespace and selects(
            spec["podSelector"], pod.labels
        )
        if direction.capitalize() not in types or not selected:
            continue
        isolated = True
        for rule in spec.get(direction) or []:
            side = rule.get("from" if direction == "ingress" else "to") or []
            numbers = rule.get("ports") or []
            if (
                not side or any(is_peer(p, manifest["metadata"]["namespace"], namespaces, peer) for p in side)
            ) and (not numbers or any(is_port(n, destination, port) for n in numbers)):
                return True
    return not isolated


def selects(selector, labels):
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for e in selector.get("matchExpressions", []):
        has, value = e["key"] in labels, labels.get(e["key"])
        holds = {
            "In": has and value in e.get("values", []),
            "NotIn": not has or value not in e.get("values", []),
            "Exists": has,
            "DoesNotExist": not has,
        }
        if not holds[e["operator"]]:
            return False
    return True


def is_peer(peer, own, namespaces, pod):
    if "ipBlock" in peer:
        address = ipaddress.ip_address(pod.ip)
        cidrs = [peer["ipBlock"]["cidr"], *peer["ipBlock"].get("except", [])]
        inside = [address in ipaddress.ip_network(cidr) for cidr in cidrs]
        return inside[0] and not any(inside[1:])
    if "namespaceSelector" in peer:
        labels = {**namespaces[pod.namespace], "kubernetes.io/metadata.name": pod.namespace}
        here = selects(peer["namespaceSelector"], labels)
    else:
        here = pod.namespace == own
    return here and selects(peer.get("podSelector", {}), pod.labels)


def is_port(entry, destination, port):
    protocol, number = port
    if entry.get("protocol", "TCP") != protocol:
        return False
    wanted = entry.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return destination.named_ports.get(wanted) == (protocol, number)
    return wanted <= number <= entry.get("endPort", wanted)
