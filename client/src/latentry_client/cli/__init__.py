"""The command `latentry`; needs the extra `cli`."""

import os
import sys


def main() -> None:
    """Run the command and exit: 0 done, 1 the server said no, 2 the command line or a file is wrong."""
    # gRPC's core writes lines of its own to the error stream; what matters of them comes back as errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from latentry_client.cli.app import run  # noqa: PLC0415 - only here is the extra needed
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "PIL", "rich"):
            raise
        print(f"latentry: {error.name} is missing: pip install 'latentry-client[cli]'", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))
