"""The commands together, and what becomes of errors."""

from collections.abc import Sequence
from importlib.metadata import version

import cyclopts

from latentry_client.cli import generating, inference, models
from latentry_client.cli.report import say
from latentry_client.exceptions import LatentryError

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
command.command(generating.decode)
command.command(generating.sample)
command.command(generating.interpolate)
command.command(generating.style_mix)


def run(tokens: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = command(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except LatentryError as error:
        return _failed(error, 1)
    except (cyclopts.CycloptsError, ValueError, OSError) as error:
        return _failed(error, 2)
    except KeyboardInterrupt:
        say("latentry: stopped")
        return 130
    return code if isinstance(code, int) else 0


def _failed(error: Exception, code: int) -> int:
    say(f"latentry: {' '.join(str(error).split())}")
    return code
