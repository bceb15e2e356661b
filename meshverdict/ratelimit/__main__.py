"""Serve: gRPC on port 8081 (GRPC_PORT), limits from the YAML files of $RUNTIME_ROOT/$RUNTIME_SUBDIRECTORY/config.

The variables are those of envoyproxy/ratelimit, so its manifests run this program unchanged.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from meshverdict.model.errors import EXIT_INVALID, MeshverdictError, UsageError
from meshverdict.ratelimit.limits import Limits
from meshverdict.ratelimit.wire import METHOD, request, response

if TYPE_CHECKING:
    from collections.abc import Mapping

_THREADS: Final = 4


def configuration(environ: Mapping[str, str]) -> Limits:
    """The limits, from the files.

    Raises:
        UsageError: There are none, or one cannot be used; it names the file.
    """
    root = Path(
        environ.get("RUNTIME_ROOT", "/data"), environ.get("RUNTIME_SUBDIRECTORY", "ratelimit"), "config"
    )
    files = sorted(path for path in root.glob("*.y*ml") if path.is_file())
    if not files:
        raise UsageError(f"{root}: no configuration (*.yaml) of rate limits there")
    found = []
    for file in files:
        try:
            found.append(yaml.safe_load(file.read_text()))
            Limits(found[-1:])
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise UsageError(f"{file}: cannot be read ({error})") from error
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from error
    return Limits(found)


def port_of(environ: Mapping[str, str]) -> int:
    """The port to serve on.

    Raises:
        UsageError: GRPC_PORT is none.
    """
    text = environ.get("GRPC_PORT", "8081")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(f"GRPC_PORT={text}: a port from 1 to 65535")
    return int(text)


def serve(limits: Limits, port: int) -> None:
    """Answer until the process ends."""
    import grpc  # noqa: PLC0415 - an extra; without it there is a sentence instead of a traceback

    lock = threading.Lock()

    def answer(data: bytes, _context: object) -> bytes:
        asked = request(data)
        with lock:
            now = time.time()
            return response(
                [limits.take(asked.domain, entries, asked.hits, now) for entries in asked.descriptors]
            )

    service, _, method = METHOD[1:].rpartition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    # The pod's network is its own.
    server.add_insecure_port(f"0.0.0.0:{port}")
    # The first process of a pod has no default way to end.
    signal.signal(signal.SIGTERM, lambda _number, _frame: server.stop(grace=None))
    server.start()
    print(f"rate limits on port {port}", flush=True)
    server.wait_for_termination()


def main() -> int:
    """The program; 0 when it was ended, 3 when it could not begin."""
    try:
        serve(configuration(os.environ), port_of(os.environ))
    except ImportError:
        print("needs grpcio: pip install 'meshverdict[lab]'", file=sys.stderr)
        return EXIT_INVALID
    except MeshverdictError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
