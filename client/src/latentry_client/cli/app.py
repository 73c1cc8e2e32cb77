"""The commands together, and what becomes of errors."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import cyclopts

from latentry_client.cli import generating, hashing, inference, models
from latentry_client.cli.report import say
from latentry_client.exceptions import (
    DeadlineExceededError,
    LatentryError,
    UnauthenticatedError,
    UnavailableError,
)

_HINTS: Mapping[type[LatentryError], str] = {
    UnavailableError: "is latentry-server there (--address), with TLS or without as here (--tls, --tls-ca-file)?",
    DeadlineExceededError: "--timeout-s gives it longer",
    UnauthenticatedError: "give the server's token by LATENTRY_TOKEN or --token",
}

command = cyclopts.App(
    name="latentry",
    help="Call a latentry server. MODEL is a model's name, or <name>/<version>.",
    version=version("latentry-client"),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
command.command(models.app)
command.command(models.health)
command.command(inference.encode)
command.command(inference.reconstruct)
command.command(inference.denoise)
command.command(inference.score)
command.command(inference.classify)
command.command(hashing.hash_images, name="hash")
command.command(generating.decode)
command.command(generating.sample)
command.command(generating.interpolate)
command.command(generating.style_mix)


def run(tokens: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = command(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except LatentryError as error:
        return _failed(_with_hint(error), 1)
    except BrokenPipeError:  # who read the output has had enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except (cyclopts.CycloptsError, ValueError) as error:
        return _failed(str(error), 2)
    except KeyboardInterrupt:
        say("latentry: stopped")
        return 130
    return code if isinstance(code, int) else 0


def _with_hint(error: LatentryError) -> str:
    says_why_it_is_away = isinstance(error, UnavailableError) and error.reason
    hint = None if says_why_it_is_away else _HINTS.get(type(error))
    return f"{error}; {hint}" if hint else str(error)


def _failed(message: str, code: int) -> int:
    say(f"latentry: {' '.join(message.split())}")
    return code
