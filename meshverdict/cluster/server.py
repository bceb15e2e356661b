"""The front door of this room: the API as an application, and serving it on given sockets."""

from meshverdict.cluster.http.server import DEFAULT_HOSTS, make_app, serve

__all__ = ["DEFAULT_HOSTS", "make_app", "serve"]
