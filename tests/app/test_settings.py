"""Settings from the environment; a wrong one stops the app with a message that names it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[2] / "app"


def _settings():
    spec = importlib.util.spec_from_file_location("app_settings_under_test", APP / "settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


SETTINGS = _settings()


def test_defaults():
    """Pooled and strict; an empty variable counts as not set."""
    expected = SETTINGS.Settings(redis_connection="pooled", health="strict", work_ms=0.0, threads=16)
    assert SETTINGS.Settings.from_env({}) == expected
    assert SETTINGS.Settings.from_env({"HEALTH": "", "THREADS": ""}) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "many"),
        ("REDIS_TIMEOUT_S", "0"),
        ("REDIS_TIMEOUT_S", "nan"),
        ("REDIS_TIMEOUT_S", "inf"),
        ("REDIS_CONNECTION", "Pooled"),
        ("REDIS_POOL", "-1"),
        ("HEALTH", "lax"),
        ("WORK_MS", "-1"),
        ("WORK_KIND", "io"),
        ("THREADS", "1.5"),
    ],
)
def test_wrong_value(name, value):
    """A wrong value is refused with the variable's name, the value and what is possible."""
    with pytest.raises(SETTINGS.SettingError, match=f"^{name}={value}: .* is needed$"):
        SETTINGS.Settings.from_env({name: value})


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"REDIS_ENDPOINT": "a,,b"}, "REDIS_ENDPOINT=a,,b: a host between each two commas is needed"),
        (
            {"REDIS_ENDPOINT": "a,b", "REDIS_WRITE_ENDPOINT": "c"},
            r"REDIS_WRITE_ENDPOINT=c: as many .* \(2\) are needed",
        ),
        ({"REDIS_WRITE_ENDPOINT": "c,d"}, r"REDIS_WRITE_ENDPOINT=c,d: as many .* \(1\) are needed"),
    ],
)
def test_wrong_shards(env, words):
    """A name too few would make two shards of one key."""
    with pytest.raises(SETTINGS.SettingError, match=words):
        SETTINGS.Settings.from_env(env)


def test_every_setting_is_documented():
    """The table in the module's docstring has a row for each setting, with its default."""
    rows = dict(
        line.strip("| ").split(" | ")[:2]
        for line in (SETTINGS.__doc__ or "").splitlines()
        if line.startswith("| ")
    )
    del rows["variable"]
    defaults = SETTINGS.Settings()
    expected = {name.upper(): getattr(defaults, name) for name in SETTINGS.Settings.__dataclass_fields__}
    assert {name: type(expected[name])(text) for name, text in rows.items()} == expected


def test_the_app_does_not_start_with_a_wrong_setting():
    """The command ends with an error that names the variable."""
    argv = [sys.executable, "-m", "gunicorn", "--check-config", "-c", str(APP / "gunicorn.conf.py")]
    env = {"PATH": os.defpath, "THREADS": "none"}
    done = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "THREADS=none: a number from 1 to 512 is needed" in done.stdout + done.stderr
