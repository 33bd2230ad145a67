"""Templates to HTML: everything that is not markup of our own is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ril_bench.config.characters import encodable
from ril_bench.reporting import text
from ril_bench.reporting.glossary import METRICS, NOTATION
from ril_bench.storage.read import dig

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> bytes:
    """The bytes of a page. A misspelt variable is an error."""
    return encodable(_environment().get_template(template).render(**values)).encode()


@cache
def script() -> tuple[str, str]:
    """The site's script, and the hash that its content security policy lets run."""
    source = (_TEMPLATES / "site.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return source, f"sha256-{digest}"


@cache
def style(name: str) -> str:
    """A style sheet without the spaces that only its authors need: pages hold copies."""
    source = (_TEMPLATES / name).read_text(encoding="utf-8")
    return re.sub(r"\s*([{};,])\s*", r"\1", re.sub(r"\s+", " ", source)).replace(": ", ":").strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (text.fixed, text.short, text.count, text.seconds, text.size, text.ratio):
        environment.filters[function.__name__] = function
    environment.globals.update(
        dig=dig, MISSING=text.MISSING, style=style, metrics_table=METRICS, notation=NOTATION
    )
    return environment
