"""What an engine adds to a bare run of its ONNX Runtime session, frame by frame, in one run.

python tests/benchmarks/engine_overhead.py edge_runtime/sample/lite2.encoder
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime

from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.engines import open_engine


def main() -> None:
    """Time both in turns, so that a busy machine slows them alike."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    bundle = load_encoder_bundle(options.bundle)
    engine = open_engine(bundle, threads=options.threads)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(
        str(bundle.graph_path("fp32")), session_options, providers=["CPUExecutionProvider"]
    )
    shape = (1, bundle.input_height, bundle.input_width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    runs = {
        "bare session": lambda: session.run(None, {"images": images}),
        "engine": lambda: engine.encode(images),
    }
    times_ms = {name: np.empty(options.frames) for name in runs}
    for frame in range(-20, options.frames):
        for name in runs if frame % 2 else reversed(runs):
            began = time.perf_counter()
            runs[name]()
            if frame >= 0:
                times_ms[name][frame] = (time.perf_counter() - began) * 1e3
    for name, spent in times_ms.items():
        quartiles = ", ".join(f"{np.percentile(spent, p):.3f}" for p in (10, 25, 50))
        print(f"{name:<14} p10, p25, p50: {quartiles} ms")  # noqa: T201
    ratios = times_ms["engine"] / times_ms["bare session"]
    print(f"engine over bare session, median of pairs: {np.median(ratios):.4f}")  # noqa: T201


if __name__ == "__main__":
    main()
