"""Whether downloads are allowed, and whether the hub answers."""

from __future__ import annotations

import os

import pytest
from huggingface_hub import constants

from ril_bench.remote.network import downloads_are_off, go_offline, hub_answers


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def test_an_error_of_the_connection_means_no_answer(online, monkeypatch):
    def fail():
        raise OSError("no route")

    assert not downloads_are_off()
    monkeypatch.setattr("huggingface_hub.get_session", fail)
    assert hub_answers() is False


def test_going_offline_holds_for_this_process_and_its_children(online):
    go_offline()
    assert downloads_are_off()
    assert hub_answers() is False
    assert os.environ["HF_HUB_OFFLINE"] == "1"
