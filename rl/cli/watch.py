"""The command `interleave watch`."""

from __future__ import annotations

import argparse
from contextlib import suppress

from rl.cli.arguments import Parser, add_command, file_path, port_number, store_place


def add_watch_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    watch = add_command(
        commands, "watch", _watch, "follow a run, live or ended, on a page of this machine; only its folder is read"
    )
    watch.add_argument("run", type=file_path, help="the run's folder")
    watch.add_argument("--port", type=port_number, default=0, help="of 127.0.0.1; default: a free one")
    watch.add_argument(
        "--store", type=store_place, help="folder of the images, for a run that was moved; default: as its recipe says"
    )


def _watch(chosen: argparse.Namespace) -> int:
    from actors.web.loopback import LoopbackServer
    from rl.watch.site import Site

    with LoopbackServer(Site(chosen.run, chosen.store).answer, port=chosen.port) as server:
        print(f"page  {server.url}\nfor this machine alone (elsewhere: ssh -L); Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
