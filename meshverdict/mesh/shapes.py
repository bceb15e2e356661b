"""The fields of the Istio resources: which the lab enforces, and why it refuses the others.

Sources of the fields: Istio's API reference for networking.istio.io and security.istio.io.
"""

from __future__ import annotations

from typing import Final

from meshverdict.mesh.fields import TEXT, WHOLE, Choice, Free, Items, Map, Object, Refused
from meshverdict.mesh.shapes_destinations import DESTINATION_RULE
from meshverdict.mesh.shapes_routes import VIRTUAL_SERVICE

_SELECTOR: Final = Object({"matchLabels": Map(TEXT)})
_TARGETS: Final = Refused("the lab has no gateways and no waypoints: select workloads with spec.selector")

# ---- security

_MTLS: Final = Object({"mode": Choice(("UNSET", "DISABLE", "PERMISSIVE", "STRICT"))})
PEER_AUTHENTICATION: Final = Object({"selector": _SELECTOR, "mtls": _MTLS, "portLevelMtls": Map(_MTLS)})

_JWT: Final = Refused("tokens of end users (RequestAuthentication) are not verified: remove the field")
_LIST: Final = Items(TEXT)
_SOURCE: Final = Object(
    {
        **{
            name: _LIST
            for word in ("principals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks")
            for name in (word, f"not{word[0].upper()}{word[1:]}")
        },
        "requestPrincipals": _JWT,
        "notRequestPrincipals": _JWT,
    }
)
_OPERATION: Final = Object(
    {
        name: _LIST
        for word in ("hosts", "ports", "methods", "paths")
        for name in (word, f"not{word[0].upper()}{word[1:]}")
    }
)
AUTHORIZATION_POLICY: Final = Object(
    {
        "selector": _SELECTOR,
        "action": Choice(("ALLOW", "DENY", "AUDIT", "CUSTOM")),
        "rules": Items(
            Object(
                {
                    "from": Items(Object({"source": _SOURCE})),
                    "to": Items(Object({"operation": _OPERATION})),
                    "when": Items(
                        Object({"key": TEXT, "values": _LIST, "notValues": _LIST}, required=("key",))
                    ),
                }
            )
        ),
        "provider": Refused("no external authorizer is called: use ALLOW and DENY"),
        "targetRef": _TARGETS,
        "targetRefs": _TARGETS,
    }
)

# ---- EnvoyFilter

_PROXY: Final = Refused("all sidecars are alike here: remove match.proxy")
_LISTENER_MATCH: Final = Object(
    {
        "name": TEXT,
        "portNumber": WHOLE,
        "portName": Refused("name the port by portNumber"),
        "listenerFilter": Refused("match the filter chain's filters"),
        "filterChain": Object(
            {
                "name": TEXT,
                "transportProtocol": TEXT,
                "destinationPort": WHOLE,
                "sni": Refused("chains are not chosen by SNI: match destinationPort"),
                "applicationProtocols": Refused("match transportProtocol or destinationPort"),
                "filter": Object({"name": TEXT, "subFilter": Object({"name": TEXT})}),
            }
        ),
    }
)
_ROUTE_MATCH: Final = Object(
    {
        "name": TEXT,
        "portNumber": WHOLE,
        "portName": Refused("name the port by portNumber"),
        "gateway": Refused("the lab has no gateways: match vhost"),
        "vhost": Object(
            {
                "name": TEXT,
                "domainName": Refused("name the virtual host by name, host:port"),
                "route": Object(
                    {"name": TEXT, "action": Choice(("ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"))}
                ),
            }
        ),
    }
)
ENVOY_FILTER: Final = Object(
    {
        "workloadSelector": Object({"labels": Map(TEXT)}),
        "priority": WHOLE,
        "targetRefs": _TARGETS,
        "configPatches": Items(
            Object(
                {
                    "applyTo": Choice(
                        (
                            "INVALID",
                            "LISTENER",
                            "FILTER_CHAIN",
                            "NETWORK_FILTER",
                            "HTTP_FILTER",
                            "ROUTE_CONFIGURATION",
                            "VIRTUAL_HOST",
                            "HTTP_ROUTE",
                            "CLUSTER",
                            "EXTENSION_CONFIG",
                            "BOOTSTRAP",
                            "LISTENER_FILTER",
                        )
                    ),
                    "match": Object(
                        {
                            "context": Choice(("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY")),
                            "proxy": _PROXY,
                            "listener": _LISTENER_MATCH,
                            "routeConfiguration": _ROUTE_MATCH,
                            "cluster": Object(
                                {"name": TEXT, "service": TEXT, "subset": TEXT, "portNumber": WHOLE}
                            ),
                            "waypoint": _TARGETS,
                        }
                    ),
                    "patch": Object(
                        {
                            "operation": Choice(
                                (
                                    "INVALID",
                                    "MERGE",
                                    "ADD",
                                    "REMOVE",
                                    "INSERT_BEFORE",
                                    "INSERT_AFTER",
                                    "INSERT_FIRST",
                                    "REPLACE",
                                )
                            ),
                            "value": Free(),
                            "filterClass": Refused(
                                "the filters' order is Istio's: name the place by subFilter"
                            ),
                        }
                    ),
                }
            )
        ),
    }
)

# ---- ServiceEntry

SERVICE_ENTRY: Final = Object(
    {
        "hosts": Items(TEXT),
        "addresses": Items(TEXT),
        "location": Choice(("MESH_EXTERNAL", "MESH_INTERNAL")),
        "resolution": Choice(("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS")),
        "ports": Items(
            Object(
                {
                    "number": WHOLE,
                    "name": TEXT,
                    "protocol": TEXT,
                    "targetPort": Refused("give the port of each endpoint in endpoints[].ports"),
                },
                required=("number", "name"),
            )
        ),
        "endpoints": Items(
            Object(
                {
                    "address": TEXT,
                    "ports": Map(WHOLE),
                    "labels": Map(TEXT),
                    "locality": TEXT,
                    "weight": Refused("endpoints of a locality are equal: remove the field"),
                    "network": Refused("there is one network"),
                    "serviceAccount": Refused("clients do not encrypt to endpoints of a ServiceEntry"),
                }
            )
        ),
        "exportTo": Items(TEXT),
        "workloadSelector": Refused("make it a Service with a selector"),
        "subjectAltNames": Refused("clients do not encrypt to endpoints of a ServiceEntry"),
    },
    required=("hosts",),
)

SHAPES: Final[dict[str, Object]] = {
    "VirtualService": VIRTUAL_SERVICE,
    "DestinationRule": DESTINATION_RULE,
    "EnvoyFilter": ENVOY_FILTER,
    "ServiceEntry": SERVICE_ENTRY,
    "PeerAuthentication": PEER_AUTHENTICATION,
    "AuthorizationPolicy": AUTHORIZATION_POLICY,
}
