"""What is read again is what the files hold, whoever has it read."""

from __future__ import annotations

import threading
from pathlib import Path

from riskd.adapters.memory import NullMeter
from riskd.server.watch import Watched


def test_the_last_to_be_read_is_what_holds(tmp_path: Path) -> None:
    """A look at the files and an order to reload may come at a time: who read the older content does not install it
    after who read the newer, or a token that was taken back would go on being good."""
    file, installed, go_on, reading = tmp_path / "callers.toml", [""], threading.Event(), threading.Event()
    file.write_text("older")

    def reload() -> None:
        content = file.read_text()
        reading.set()
        if content == "older":
            go_on.wait(30)
        installed[0] = content

    watched = Watched("callers", [str(file)], reload, NullMeter())
    first, second = (threading.Thread(target=watched.take) for _ in range(2))
    first.start()
    assert reading.wait(30)
    file.write_text("newer")
    second.start()
    second.join(0.3)
    go_on.set()
    first.join()
    second.join()
    assert installed == ["newer"]
