"""Where the installed command begins: until main() listens to signals, Ctrl-C just ends it."""

from __future__ import annotations

import signal


def start() -> int:
    """Run `main` on the command line; imports it late, which is most of what it takes to start."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from blockrep.cli.main import main

    code = main()
    # What is done stays a success: a signal while the interpreter ends would make it a failure.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return code
