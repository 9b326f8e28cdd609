"""Training in several processes on the cores of one machine: `python benchmarks/together.py --shop 2500,70000,1500000`.

For each number of processes, a made-up shop of `scale.py` is trained before a holdout of four weeks, as torchrun starts
`ncf-pipeline retrain`. All processes together have as many threads as the machine has cores. Printed are seconds on the
clock, CPU seconds and peak memory of all processes together, and Precision@5 of both lists in the holdout.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from scale import CUTOFF, Size, _peak_mb, _reset_peak, make_interactions

HOLDOUT = timedelta(days=28)


def train_together(size: Size, epochs: int | None) -> None:
    """Measures in one of the processes; each prints a line of JSON."""
    from ncf_pipeline.training import distributed

    figures: dict[str, Any] = {}
    distributed.run(lambda: figures.update(trained(size, epochs)))
    print(json.dumps({**figures, "cpu_s": time.process_time(), "mb": _peak_mb()}))


def trained(size: Size, epochs: int | None) -> dict[str, Any]:
    """Trains with the help of the other processes, if there are any, and evaluates."""
    import pandas as pd
    import torch

    from ncf_pipeline.evaluation.scores import score_by_customer, truth_of
    from ncf_pipeline.model.lists.assemble import customer_lists
    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.training.distributed import train

    interactions = make_interactions(*size)
    _reset_peak()
    begun, before = time.perf_counter(), time.process_time()
    model = train(interactions, CUTOFF - HOLDOUT, Recipe(), device="cpu", epochs=epochs)
    seconds, cpu, peak = time.perf_counter() - begun, time.process_time() - before, _peak_mb()
    truth = truth_of(interactions, CUTOFF - HOLDOUT, CUTOFF)
    known = list(truth.known_customers)
    lists: pd.DataFrame = customer_lists(model, interactions, CUTOFF - HOLDOUT, 10, customers=known)
    precision = {}
    for name in ("for_you", "discover"):
        of_customer = score_by_customer(lists, truth, question=name, k=5)
        precision[name] = float(of_customer.loc[of_customer.index.isin(known), "precision_at_k"].mean())
    return {
        "threads": torch.get_num_threads(),
        "epochs": len(model.history),
        "seconds": seconds,
        "train_cpu_s": cpu,
        "train_mb": peak,
        **precision,
    }


def in_processes(size: Size, processes: int, epochs: int | None) -> None:
    """Trains in so many processes, and prints what that took."""
    cores = len(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(processes), __file__, "--here", "--shop", ",".join(map(str, size))]
    command += [] if epochs is None else ["--epochs", str(epochs)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": str(max(1, cores // processes)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GLOO_SOCKET_IFNAME": "lo",  # a machine's own name may not be known to itself
    }
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{processes} processes failed:\n{done.stderr}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (first,) = (line for line in lines if "seconds" in line)
    others = [line for line in lines if line is not first]
    cpu = first["train_cpu_s"] + sum(line["cpu_s"] for line in others)
    print(
        f"| {processes} | {first['threads']} | {first['epochs']} | {first['seconds']:.0f} | {cpu:.0f} "
        f"| {first['train_mb']:,} | {sum((line['mb'] for line in others), first['train_mb']):,} "
        f"| {first['for_you']:.4f} | {first['discover']:.4f} | {os.getloadavg()[0]:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shop", default="2500,70000,1500000", help="customers,products,lines")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, help="Default: chosen on an inner holdout")
    parser.add_argument("--here", action="store_true", help="measure in this process, which torchrun started")
    options = parser.parse_args()
    customers, products, lines = (int(part) for part in options.shop.split(","))
    size = (customers, products, lines)
    if options.here:
        train_together(size, options.epochs)
        return
    print("| processes | threads | epochs | s | CPU s | MB of the first | MB together | for_you | discover | load |")
    print("| --: " * 10 + "|", flush=True)
    for processes in options.processes:
        in_processes(size, processes, options.epochs)


if __name__ == "__main__":
    main()
