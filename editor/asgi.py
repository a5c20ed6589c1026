"""What the server runs: HTTP through Django's WSGI handler, websockets through Channels, start and stop of both.

Through Django's ASGI handler every page would cost about twice the CPU (16 changes of thread a request). Nothing
starts when this module is imported; the server's lifespan starts the follower and, in the embedded default, the worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from a2wsgi import WSGIMiddleware
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "editor.settings")

WSGI_THREADS = 10
STOP_SECONDS = 5

# Typed as answering HttpResponse, which is what a2wsgi asks for under another name: bytes in an iterable.
wsgi_application: Any = get_wsgi_application()

# Models can be imported only after get_wsgi_application() has set Django up.
from editor import live  # noqa: E402
from editor.reconcile import Worker  # noqa: E402
from editor.versions import why_not_use_database  # noqa: E402

log = logging.getLogger(__name__)


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Starts the follower and the worker with the server and stops them with it, within seconds."""
    worker = Worker() if settings.EMBEDDED_WORKER else None
    await receive()
    try:
        if reason := await asyncio.to_thread(_why_not_start):
            log.error(reason)
            await send({"type": "lifespan.startup.failed", "message": reason})
            return
        await live.start()
        if worker:
            worker.start()
    except Exception as error:
        log.exception("The start failed.")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})

    await receive()
    try:
        await live.stop()
    finally:
        if worker:
            # Blocks until the worker's jobs have ended; what is cut off is found again at the next start.
            await asyncio.to_thread(worker.stop, STOP_SECONDS)
    await send({"type": "lifespan.shutdown.complete"})


def _why_not_start() -> str | None:
    try:
        return why_not_use_database()
    finally:
        connection.close()


application = ProtocolTypeRouter(
    {
        "http": WSGIMiddleware(wsgi_application, workers=WSGI_THREADS),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(live.websocket_urlpatterns))),
        "lifespan": lifespan,
    }
)
