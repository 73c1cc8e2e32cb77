"""Soaks a server in a mixed load for long: `python -m benchmarks.soak --seconds 3600`.

Callers do all that they may, and much that they may not: every operation of several models, mistakes, calls that are
cancelled or have hardly any time, clients that leave or stop reading, a model that comes and goes. Every answer is
compared with the first one. What the server's processes hold is sampled, so that whatever grows shows.
"""

import argparse
import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
from latentry_client import AsyncClient
from latentry_client.results import Model

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import ServerProcess, serve
from benchmarks.soak import load
from benchmarks.soak.callers import Callers
from benchmarks.soak.cases import Case, cases_of, mistakes_of
from benchmarks.soak.report import figures_of, plot, tables
from benchmarks.soak.tally import Tally
from benchmarks.soak.watch import Watch
from tests.server.command import free_port

_RELOADED = "tied"
_MODELS = ("stacked", "conv", "denoise-gaussian", "vae", "dcgan", "cgan", "classifier", "stylegan", _RELOADED)
_NUM_CLIENTS = 4


async def soak(server: ServerProcess, watch: Watch, tally: Tally, *, calls_per_s: float, seconds: float) -> None:
    """Ask for all answers once, then call and watch for some seconds."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(server.address, merge=number % 2 == 0))
            for number in range(_NUM_CLIENTS)
        ]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        models = [model for model in await clients[0].list_models() if model.name in _MODELS]
        cases, reloaded = await _answered(clients[0], models)
        callers = Callers(
            server.address,
            clients=clients,
            channel=channel,
            cases=cases,
            mistakes=[mistake for model in models if model.name != _RELOADED for mistake in mistakes_of(model)],
            reloaded=reloaded,
            tally=tally,
            rng=np.random.default_rng(0),
        )
        watching = asyncio.create_task(watch.run())
        await load.run(callers, tally, scrape=watch.scrape, calls_per_s=calls_per_s, seconds=seconds)
        watching.cancel()


async def _answered(client: AsyncClient, models: list[Model]) -> tuple[list[Case], list[Case]]:
    """Make all cases and ask for their first answers; those of the model that comes and goes are apart."""
    rng = np.random.default_rng(0)
    cases = [case for model in models for case in cases_of(model, rng)]
    for case in cases:
        case.expect(await client.run(case.request))
    return (
        [case for case in cases if case.request.model != _RELOADED],
        [case for case in cases if case.request.model == _RELOADED],
    )


def main() -> None:
    """Soak, print tables, and leave all of it as JSON, beside it a plot of the memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--calls-per-s", type=float, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/soak.json"))
    options = parser.parse_args()

    machine, port = describe_machine(), free_port()
    flags = ("--models", ",".join(_MODELS), "--workers", str(options.workers), "--threads", "1")
    with serve(options.repository, *flags, metrics_port=port) as server:
        tally = Tally()
        watch = Watch(server, tally, workers=options.workers, metrics_port=port)
        asyncio.run(soak(server, watch, tally, calls_per_s=options.calls_per_s, seconds=options.seconds))
        took_s = tally.seconds
    warm_up_s = options.seconds / 10
    report: dict[str, Any] = {
        "machine": machine,
        "workers": options.workers,
        "ends": tally.ends,
        "unexpected": tally.unexpected,
        "figures": {
            "seconds": round(took_s),
            "calls/s": round(tally.num_calls / took_s),
            **figures_of(watch.samples, warm_up_s=warm_up_s),
        },
        "samples": [asdict(sample) for sample in watch.samples],
    }
    save(report, options.output)
    picture = options.output.with_suffix(".png")
    plot(watch.samples, picture, warm_up_s=warm_up_s)
    print(f"{machine}\n\n{tables(report)}\n\n{options.output}, {picture}")


if __name__ == "__main__":
    main()
