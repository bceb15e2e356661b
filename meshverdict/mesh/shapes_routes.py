"""The fields of a VirtualService: which the lab enforces, and why it refuses the others."""

from __future__ import annotations

from typing import Final

from meshverdict.mesh.fields import FLAG, NUMBER, TEXT, WHOLE, Choice, Items, Map, Object, Refused, Span

_PERCENT: Final = Object({"value": NUMBER})
_PORT: Final = Object({"number": WHOLE})
_STRING_MATCH: Final = Object({"exact": TEXT, "prefix": TEXT, "regex": TEXT})
_GATEWAYS: Final = Items(Choice(("mesh",)))

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
