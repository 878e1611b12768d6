"""The weights to export where none are named: those of the newest training run."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.contract.errors import SourceError

RUN_SUFFIX = ".run"
_CHECKPOINTS = ("best.safetensors", "last.safetensors")
_BUNDLE_WEIGHTS = "weights.safetensors"
_DEPTHS = ("", "*/", "*/*/")


def newest_checkpoint(folder: Path) -> Path:
    """The best checkpoint of the run, up to three folders down, that saved one last.

    Args:
        folder: Where to look for folders *.run.
    Raises:
        SourceError: If no run there has saved a checkpoint.
    """
    runs = [run for depth in _DEPTHS for run in sorted(folder.glob(f"{depth}*{RUN_SUFFIX}"))]
    saved = [checkpoint for run in runs if (checkpoint := _best_of(run)) is not None]
    if not saved:
        reason = (
            f"the runs there have saved no checkpoint yet ({runs[0].name}, ...)"
            if runs
            else f"there is no run (*{RUN_SUFFIX}) up to three folders down"
        )
        raise SourceError(
            f"{folder}: {reason}: name the weights, or efficientnet-lite2 for pretrained ones"
        )
    return max(saved, key=lambda checkpoint: _last_saved(checkpoint.parent))


def checkpoint_in(folder: Path) -> Path:
    """The best checkpoint of a run that is named by its folder.

    Raises:
        SourceError: If the folder is none of a run, or has no checkpoint yet.
    """
    found = _best_of(folder)
    if found is None:
        inside = folder / _BUNDLE_WEIGHTS
        told = (
            f"an encoder bundle already; to export it again name {inside}"
            if inside.is_file()
            else f"a folder without {' or '.join(_CHECKPOINTS)}: name the file of weights"
        )
        raise SourceError(f"{folder} is {told}")
    return found


def bundle_name_of(weights: str) -> str:
    """What a bundle of these weights is called by default: after the run, else after the file."""
    path = Path(weights)
    named = path.parent if path.parent.suffix == RUN_SUFFIX else path
    return f"{named.stem}.encoder"


def _best_of(run: Path) -> Path | None:
    return next((path for name in _CHECKPOINTS if (path := run / name).is_file()), None)


def _last_saved(run: Path) -> tuple[float, str]:
    times = [path.stat().st_mtime for name in _CHECKPOINTS if (path := run / name).is_file()]
    return max(times), str(run)
