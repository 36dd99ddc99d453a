"""Kinds of outer systems that Backstop can ask or set.

Owns: one module per kind, each a Connector with its settings, its secrets and its calls.
Knows: common.http, the only way out.
Does not know: checks, actions, incidents.
"""

from __future__ import annotations

from typing import Any

from catalog.connectors.base import Connector
from catalog.connectors.file_flag import FileFlag
from catalog.connectors.flag import Flag
from catalog.connectors.http_json import HttpJson
from catalog.connectors.prometheus import Prometheus
from common.registry import Registry

CONNECTORS: Registry[Connector[Any, Any]] = Registry("connector", [Prometheus(), HttpJson(), Flag(), FileFlag()])
