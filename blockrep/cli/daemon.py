"""`blockrep agent`: the daemon in the foreground, as service managers want it."""

from __future__ import annotations

from argparse import Namespace

from blockrep.cli.session import Session


def run_agent(session: Session, arguments: Namespace) -> None:
    """Run until a signal asks to stop. Being stopped is how it ends well."""
    session.engine.run_agent(
        {
            "config": arguments.config,
            "devices": tuple(arguments.device or ()),
            "listen": arguments.listen,
            "addresses": tuple(arguments.address or ()),
            "name": arguments.name,
            "state_dir": arguments.state_dir,
            "socket": arguments.socket,
        },
        log=session.stderr,
        stop=session.stopper,
    )
