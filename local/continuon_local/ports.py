"""Whether ports are free, asked before anything starts."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from continuon_local.errors import PortTakenError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_ports"]


def check_ports(host: str, ports: Mapping[str, int]) -> None:
    """Refuse ports that another program listens on; 0 is always free.

    gRPC would share a port with another gRPC server that allows it, and each would get some of the
    calls, so its own answer is not enough.

    Raises:
        PortTakenError: A port is taken; the message names the service, the port and the option.
    """
    for name, port in ports.items():
        if port and not _free(host, port):
            raise PortTakenError(
                f"{name}: port {port} is taken; free it, or choose others with --port-base N or"
                " --ports auto"
            )


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # Connections of an earlier run that linger in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True
