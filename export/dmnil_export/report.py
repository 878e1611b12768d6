"""What an export has written and measured, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmnil_train.evaluation.text_table import aligned, percent
from edge_runtime.contract.artefact import MANIFEST_NAME, write_whole
from edge_runtime.contract.encoder_bundle import GRAPH_FILES

REPORT_KIND = "export report"
REPORT_SCHEMA_VERSION = 1
_MEGABYTE = 1e6


@dataclass(frozen=True)
class ExportReport:
    """A bundle that was written.

    Args:
        bundle: Its folder.
        manifest: What its manifest says.
        notes: What the user should know besides.
    """

    bundle: Path
    manifest: dict[str, Any]
    notes: tuple[str, ...] = ()

    @classmethod
    def of_bundle(cls, folder: Path, notes: tuple[str, ...] = ()) -> ExportReport:
        """A written bundle's report."""
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        return cls(folder, manifest, notes)

    def table(self) -> str:
        """One row a precision, and the notes."""
        verification: dict[str, dict[str, Any]] = self.manifest["verification"]
        with_gate = any("tensorrt_rtx" in figures for figures in verification.values())
        header = ["precision", "pictures", "cosine min", "p1", "mean", "R@1", "changed", "MB"]
        rows = [[*header, "TensorRT-RTX"] if with_gate else header]
        for precision, figures in verification.items():
            row = [
                precision,
                str(figures["images"]),
                *(f"{figures[name]:.5f}" for name in ("cosine_min", "cosine_p1", "cosine_mean")),
                *_retrieval_cells(figures),
                f"{self._megabytes(precision):.1f}",
            ]
            rows.append([*row, figures.get("tensorrt_rtx", "-")] if with_gate else row)
        return "\n".join([aligned(rows), *self._footnotes(verification), *self.notes])

    def as_json(self) -> dict[str, Any]:
        """The figures and what they belong to."""
        return {
            "kind": REPORT_KIND,
            "schema_version": REPORT_SCHEMA_VERSION,
            "bundle": self.bundle.name,
            "manifest": self.manifest,
            "notes": list(self.notes),
        }

    def write_json(self, path: Path) -> Path:
        """Write `as_json`.

        Raises:
            OutputError: If it cannot be written.
        """
        return write_whole(path, json.dumps(self.as_json(), indent=2) + "\n", parents=True)

    def _megabytes(self, precision: str) -> float:
        return float(self.manifest["files"][GRAPH_FILES[precision]]["bytes"]) / _MEGABYTE

    def _footnotes(self, verification: dict[str, dict[str, Any]]) -> list[str]:
        notes = []
        tasks = {
            (a["task"], a["queries"], a["gallery"], a["recall_at_1_fp32"])
            for figures in verification.values()
            for a in figures.get("retrieval", [])
        }
        for task, queries, gallery, recall in sorted(tasks):
            notes.append(
                f"R@1 and first results changed: {task}, {queries:,} queries, {gallery:,} in the "
                f"gallery, which is in fp32 (all in fp32: {percent(recall)})"
            )
        return notes


def _retrieval_cells(figures: dict[str, Any]) -> list[str]:
    agreements = figures.get("retrieval", [])
    recalls = " ".join(percent(agreement["recall_at_1"]) for agreement in agreements)
    changes = " ".join(f"{percent(agreement['top1_changed'])} %" for agreement in agreements)
    return [recalls or "-", changes or "-"]
