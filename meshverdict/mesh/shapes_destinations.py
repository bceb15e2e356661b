"""The fields of a DestinationRule: which the lab enforces, and why it refuses the others."""

from __future__ import annotations

from typing import Final

from meshverdict.mesh.fields import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Choice,
    Items,
    Map,
    Object,
    Refused,
    Shape,
    Span,
)

_PORT: Final = Object({"number": WHOLE})
_OUTSIDE: Final = Refused("needs certificates from outside the mesh: use DISABLE or ISTIO_MUTUAL")

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
