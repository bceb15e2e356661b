"""Addresses of pods and Services."""

import pytest

from meshverdict.network.addresses import (
    DNS_IP,
    KUBERNETES_IP,
    AddressError,
    PodAddresses,
    ServiceAddresses,
    pod_blocks,
)


def test_a_nodes_pods_fill_its_blocks_in_turn():
    """10.244.N.0/24 first, then 10.244.(N+16).0/24."""
    pods = PodAddresses()
    given = [pods.allocate(2) for _ in range(255)]
    assert (given[0], given[253], given[254]) == ("10.244.2.1", "10.244.2.254", "10.244.18.1")
    assert pod_blocks(2, 2) == ["10.244.2.0/24", "10.244.18.0/24"]


def test_a_freed_address_comes_back_last():
    """Only when all others were given out, and then the one that is free for longest."""
    pods = PodAddresses()
    all_of_node = [pods.allocate(1) for _ in range(16 * 254)]
    pods.release(1, all_of_node[5])
    pods.release(1, all_of_node[3])
    assert [pods.allocate(1), pods.allocate(1)] == [all_of_node[5], all_of_node[3]]
    with pytest.raises(AddressError, match="node 1"):
        pods.allocate(1)


def test_freed_addresses_wait_for_the_fresh_ones():
    """A client that still believes in the old owner meets nobody."""
    pods = PodAddresses()
    first = pods.allocate(1)
    pods.release(1, first)
    assert pods.allocate(1) != first


def test_well_known_cluster_ips_go_to_who_names_them():
    """Allocation never gives 10.96.0.1 or 10.96.0.10; claims do, once."""
    services = ServiceAddresses()
    given = {services.allocate() for _ in range(3000)}
    assert not given & {KUBERNETES_IP, DNS_IP}
    services.claim(DNS_IP)
    with pytest.raises(AddressError, match="already allocated"):
        services.claim(DNS_IP)


@pytest.mark.parametrize("address", ["10.97.0.1", "fd00::1", "nonsense", "10.96.0.0", "10.96.255.255"])
def test_a_cluster_ip_outside_the_range_is_refused(address):
    """Naming the field."""
    with pytest.raises(AddressError, match=r"spec\.clusterIP"):
        ServiceAddresses().claim(address)


def test_a_claimed_address_is_not_allocated():
    """Also one that was in use before this process started."""
    services = ServiceAddresses(in_use=["10.96.1.0"])
    services.claim("10.96.1.1")
    assert services.allocate() == "10.96.1.2"
