"""Whether compose.yaml has the shape of the Compose specification, as far as we use it, and names our own commands."""

from __future__ import annotations

import sys
from pathlib import Path

from ruamel.yaml import YAML

TOP = {"name", "services", "volumes", "networks", "configs", "secrets"}
SERVICE = {
    "build", "command", "depends_on", "env_file", "environment", "healthcheck", "image", "ports", "read_only",
    "restart", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def main(path: Path) -> int:
    """Print each fault; 1 when there is one."""
    data = YAML(typ="safe").load(path.read_text())
    faults = [f"unknown key {key}" for key in data if key not in TOP and not key.startswith("x-")]
    services = data["services"]
    for name, service in services.items():
        faults += [f"{name}: unknown key {key}" for key in service if key not in SERVICE]
        faults += [f"{name}: neither image nor build"] if not {"image", "build"} & set(service) else []
        for other, wanted in service.get("depends_on", {}).items():
            if other not in services or wanted.get("condition") not in CONDITIONS:
                faults.append(f"{name}: depends on {other} in no known way")
            if wanted.get("condition") == "service_healthy" and "healthcheck" not in services.get(other, {}):
                faults.append(f"{name}: waits for the health of {other}, which has no check")
        for volume in service.get("volumes", []):
            if volume.partition(":")[0] not in data.get("volumes", {}) and not volume.startswith(("/", ".")):
                faults.append(f"{name}: volume {volume} is not declared")
    print("\n".join(faults) or f"{path}: {len(services)} services")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
