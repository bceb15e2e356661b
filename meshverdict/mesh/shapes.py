"""The fields of the Istio resources: which the lab enforces, and why it refuses the others.

Sources of the fields: Istio's API reference for networking.istio.io and security.istio.io.
"""

from __future__ import annotations

from typing import Final

from meshverdict.mesh.fields import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Choice,
    Free,
    Items,
    Map,
    Object,
    Refused,
    Shape,
    Span,
)

_PERCENT: Final = Object({"value": NUMBER})
_PORT: Final = Object({"number": WHOLE})
_STRING_MATCH: Final = Object({"exact": TEXT, "prefix": TEXT, "regex": TEXT})
_SELECTOR: Final = Object({"matchLabels": Map(TEXT)})
_TARGETS: Final = Refused("the lab has no gateways and no waypoints: select workloads with spec.selector")
_OUTSIDE: Final = Refused("needs certificates from outside the mesh: use DISABLE or ISTIO_MUTUAL")
_GATEWAYS: Final = Items(Choice(("mesh",)))

# ---- VirtualService

_DESTINATION: Final = Object({"host": TEXT, "subset": TEXT, "port": _PORT}, required=("host",))
_HEADER_CHANGES: Final = Object({"set": Map(TEXT), "add": Map(TEXT), "remove": Items(TEXT)})
_HEADERS: Final = Object({"request": _HEADER_CHANGES, "response": _HEADER_CHANGES})
_HTTP_MATCH: Final = Object(
    {
        "name": TEXT,
        "uri": _STRING_MATCH,
        "scheme": _STRING_MATCH,
        "method": _STRING_MATCH,
        "authority": _STRING_MATCH,
        "headers": Map(_STRING_MATCH),
        "withoutHeaders": Map(_STRING_MATCH),
        "queryParams": Map(_STRING_MATCH),
        "ignoreUriCase": FLAG,
        "port": WHOLE,
        "sourceLabels": Map(TEXT),
        "sourceNamespace": TEXT,
        "gateways": _GATEWAYS,
        "statPrefix": Refused("statistics by route are not collected: read the cluster's"),
    }
)
_RETRIES: Final = Object(
    {
        "attempts": WHOLE,
        "perTryTimeout": Span(),
        "retryOn": TEXT,
        "retryRemoteLocalities": FLAG,
        "retryIgnorePreviousHosts": FLAG,
        "backoff": Span(),
    }
)
_DELAY: Final = Object(
    {
        "fixedDelay": Span(),
        "percentage": _PERCENT,
        "percent": Refused("the deprecated whole percentage: write percentage.value"),
        "exponentialDelay": Refused("Istio does not implement it either: write fixedDelay"),
    }
)
_ABORT: Final = Object(
    {
        "httpStatus": WHOLE,
        "grpcStatus": TEXT,
        "percentage": _PERCENT,
        "http2Error": Refused("Istio does not implement it either: write httpStatus or grpcStatus"),
    }
)
_REDIRECT: Final = Object(
    {
        "uri": TEXT,
        "authority": TEXT,
        "scheme": TEXT,
        "port": WHOLE,
        "derivePort": Choice(("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT")),
        "redirectCode": WHOLE,
    }
)
_CORS: Final = Object(
    {
        "allowOrigins": Items(_STRING_MATCH),
        "allowMethods": Items(TEXT),
        "allowHeaders": Items(TEXT),
        "exposeHeaders": Items(TEXT),
        "maxAge": Span(),
        "allowCredentials": FLAG,
        "allowOrigin": Refused("the deprecated list: write allowOrigins"),
        "unmatchedPreflights": Refused("preflights that do not match are forwarded: remove the field"),
    }
)
_HTTP_ROUTE: Final = Object(
    {
        "name": TEXT,
        "match": Items(_HTTP_MATCH),
        "route": Items(
            Object({"destination": _DESTINATION, "weight": WHOLE, "headers": _HEADERS}, ("destination",))
        ),
        "redirect": _REDIRECT,
        "directResponse": Object(
            {
                "status": WHOLE,
                "body": Object({"string": TEXT, "bytes": Refused("write the body as a string")}),
            },
            required=("status",),
        ),
        "timeout": Span(zero=True),
        "retries": _RETRIES,
        "fault": Object({"delay": _DELAY, "abort": _ABORT}),
        "rewrite": Object(
            {"uri": TEXT, "authority": TEXT, "uriRegexRewrite": Object({"match": TEXT, "rewrite": TEXT})}
        ),
        "headers": _HEADERS,
        "corsPolicy": _CORS,
        "mirror": _DESTINATION,
        "mirrorPercentage": _PERCENT,
        "mirrorPercent": WHOLE,
        "mirror_percent": WHOLE,
        "mirrors": Items(
            Object({"destination": _DESTINATION, "percentage": _PERCENT}, required=("destination",))
        ),
        "delegate": Refused("routes are not merged from other VirtualServices: write the routes here"),
    }
)
_TCP_MATCH: Final = Object(
    {
        "port": WHOLE,
        "sourceLabels": Map(TEXT),
        "sourceNamespace": TEXT,
        "gateways": _GATEWAYS,
        "destinationSubnets": Refused("routes go by the Service's address: match the port"),
        "sourceSubnet": Refused("clients are known by their labels: match sourceLabels"),
    }
)
_TCP_ROUTE: Final = Object(
    {
        "match": Items(_TCP_MATCH),
        "route": Items(Object({"destination": _DESTINATION, "weight": WHOLE}, ("destination",))),
    }
)
VIRTUAL_SERVICE: Final = Object(
    {
        "hosts": Items(TEXT),
        "gateways": Items(TEXT),
        "http": Items(_HTTP_ROUTE),
        "tcp": Items(_TCP_ROUTE),
        "tls": Refused("TLS of the application is passed on unseen, so it cannot be routed by SNI: use tcp"),
        "exportTo": Items(TEXT),
    }
)

# ---- DestinationRule

_POOL: Final = Object(
    {
        "tcp": Object(
            {
                "maxConnections": WHOLE,
                "connectTimeout": Span(),
                "tcpKeepalive": Object({"probes": WHOLE, "time": Span(), "interval": Span()}),
                "maxConnectionDuration": Span(),
                "idleTimeout": Span(zero=True),
            }
        ),
        "http": Object(
            {
                "http1MaxPendingRequests": WHOLE,
                "http2MaxRequests": WHOLE,
                "maxRequestsPerConnection": WHOLE,
                "maxRetries": WHOLE,
                "idleTimeout": Span(),
                "h2UpgradePolicy": Choice(("DEFAULT", "DO_NOT_UPGRADE")),
                "useClientProtocol": Refused("the port's name decides: call it http, http2 or grpc"),
                "maxConcurrentStreams": Refused("limit requests with http2MaxRequests"),
            }
        ),
    }
)
_OUTLIER: Final = Object(
    {
        "consecutive5xxErrors": WHOLE,
        "consecutiveGatewayErrors": WHOLE,
        "consecutiveLocalOriginFailures": WHOLE,
        "splitExternalLocalOriginErrors": FLAG,
        "interval": Span(),
        "baseEjectionTime": Span(),
        "maxEjectionPercent": WHOLE,
        "minHealthPercent": WHOLE,
        "consecutiveErrors": Refused(
            "the deprecated name: write consecutive5xxErrors or consecutiveGatewayErrors"
        ),
    }
)
_HASH: Final = Object(
    {
        "httpHeaderName": TEXT,
        "httpQueryParameterName": TEXT,
        "httpCookie": Object({"name": TEXT, "path": TEXT, "ttl": Span(zero=True)}, required=("name",)),
        "useSourceIp": FLAG,
        "ringHash": Object({"minimumRingSize": WHOLE}),
        "maglev": Object({"tableSize": WHOLE}),
        "minimumRingSize": WHOLE,
    }
)
_LOCALITY: Final = Object(
    {
        "enabled": FLAG,
        "distribute": Items(Object({"from": TEXT, "to": Map(WHOLE)})),
        "failover": Items(Object({"from": TEXT, "to": TEXT})),
        "failoverPriority": Items(TEXT),
    }
)
_WARMUP: Final = Refused("new endpoints get their share at once: remove the field")
_BALANCER: Final = Object(
    {
        "simple": Choice(
            ("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST")
        ),
        "consistentHash": _HASH,
        "localityLbSetting": _LOCALITY,
        "zoneAwareLbSetting": Refused(
            "proportional zone-aware routing needs to know the client's own endpoints: use localityLbSetting"
        ),
        "warmup": _WARMUP,
        "warmupDurationSecs": _WARMUP,
    }
)
_TLS: Final = Object(
    {
        "mode": Choice(("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")),
        "clientCertificate": _OUTSIDE,
        "privateKey": _OUTSIDE,
        "caCertificates": _OUTSIDE,
        "caCrl": _OUTSIDE,
        "credentialName": _OUTSIDE,
        "subjectAltNames": Refused("the identities of the Service's pods are checked: remove the field"),
        "sni": Refused("Istio's own server name is sent: remove the field"),
        "insecureSkipVerify": Refused("servers are always verified: remove the field"),
    }
)
_BY_PORT: Final[dict[str, Shape]] = {
    "connectionPool": _POOL,
    "loadBalancer": _BALANCER,
    "outlierDetection": _OUTLIER,
    "tls": _TLS,
}
_TRAFFIC_POLICY: Final = Object(
    {
        **_BY_PORT,
        "portLevelSettings": Items(Object({"port": _PORT, **_BY_PORT})),
        "retryBudget": Object({"percent": NUMBER, "minRetryConcurrency": WHOLE}),
        "tunnel": Refused("connections are not tunnelled: remove the field"),
        "proxyProtocol": Refused("the PROXY protocol is not spoken: remove the field"),
    }
)
DESTINATION_RULE: Final = Object(
    {
        "host": TEXT,
        "trafficPolicy": _TRAFFIC_POLICY,
        "subsets": Items(
            Object({"name": TEXT, "labels": Map(TEXT), "trafficPolicy": _TRAFFIC_POLICY}, required=("name",))
        ),
        "exportTo": Items(TEXT),
        "workloadSelector": Refused(
            "rules hold for all clients of a namespace: put it into the client's namespace"
        ),
    },
    required=("host",),
)

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
