"""What a cut answer, or none at all, is to the lab's wget: an error, never a file that passes for whole."""

import contextlib
import socket
import threading

import pytest

from meshverdict.runtime.programs import wget


@contextlib.contextmanager
def answering(text):
    """A server that says *text* to one client and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/file"
        thread.join(5)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ],
    ids=["length", "chunked"],
)
def test_a_cut_body_is_an_error(text, capfd, tmp_path):
    """Fewer bytes than were announced."""
    with answering(text) as url:
        assert wget.main(["-O", str(tmp_path / "f"), url]) == 1
    assert "connection closed prematurely" in capfd.readouterr().err


def test_a_port_that_is_none_is_told(capfd):
    """No traceback."""
    assert wget.main(["http://host:99999/"]) == 1
    assert "bad port" in capfd.readouterr().err
