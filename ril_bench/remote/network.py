"""Whether files may be downloaded, and whether the hub can be reached."""

from __future__ import annotations

import os
import sys

HUB = "https://huggingface.co"
TIMEOUT = 3.0  # seconds to wait for an answer of the hub


def downloads_are_off() -> bool:
    """Whether HF_HUB_OFFLINE=1 or `go_offline` forbids downloads."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_answers() -> bool:
    """Whether the hub answers within seconds; False where downloads are off."""
    from huggingface_hub import get_session

    if downloads_are_off():
        return False
    try:
        get_session().head(HUB, timeout=TIMEOUT)
    except Exception:  # the kinds of error differ between versions of huggingface_hub
        return False
    return True


def go_offline() -> None:
    """Forbids downloads to this process and to the processes that it starts."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if constants := sys.modules.get("huggingface_hub.constants"):  # it read the variable when it was imported
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
