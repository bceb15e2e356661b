"""The `meshverdict` command: parse arguments, call one function, print.

Commands import what they need when they run, so that `meshverdict --help` and `status` stay quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from meshverdict.cli.output import complain
from meshverdict.cli.parser import parser
from meshverdict.model.errors import EXIT_USAGE, MeshverdictError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 holds, 1 deviates or differs, 2 usage, 3 could not measure.
    """
    options = parser().parse_args(arguments)
    as_json = getattr(options, "output", None) == "json"
    try:
        code: int = options.run(options)
    except MeshverdictError as error:
        complain(error, as_json=as_json, exit_code=error.exit_code)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as with `| head`
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    return code
