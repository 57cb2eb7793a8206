"""Mutation testing: small faults are put into the core, one at a time, and the tests that mirror the file must fail.

python -m tests.campaigns.mutation [--seed N] [--count N] [--jobs N] [FILE ...]

A sample of the mutants, drawn with the seed, is run on copies of the package with the reference kernels; the working
tree is never touched. What survives is printed, then a table; the status is 1 where less than 98 % are killed. For each
survivor a test is missing, unless nobody can tell it from the original: then it belongs into
`equivalent_mutants.txt`, with the reason.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from tests.campaigns.mutation_equivalents import TABLE, Fault, equivalents
from tests.campaigns.mutation_operators import Mutant, fingerprint, mutants

ROOT = Path(__file__).resolve().parents[2]
PACKAGE, TESTS = ROOT / "tinygrad_norm", ROOT / "tests"
CORE = (
    *("tape.py", "modes.py", "operands.py", "saved.py", "gradients.py", "route.py", "quiet.py", "generation.py"),
    *("tensor.py", "in_place.py", "integrity.py", "dtypes.py", "settings.py"),
    *("ops/*.py", "nn/*.py", "optim/*.py", "data/loader.py", "definitions/*.py", "viz/graph.py"),
    *(f"training/{name}.py" for name in ("metrics", "trainer", "checkpoint", "safetensors")),
)
AROUND = ("gradients", "operands", "quiet", "route", "saved")
"""What stands around the tape: the tests of any of these hold all of them to their work, and the tape too."""
TAPE = ["test_tape.py", "test_tape_memory.py", "test_modes.py", *(f"test_{name}.py" for name in AROUND)]
ALSO = {
    "dtypes.py": ["test_tensor.py", "test_in_place.py"],
    "nn/activation.py": ["nn/test_checks.py"],
    "nn/dropout.py": ["nn/test_checks.py"],
    "nn/module.py": ["nn/test_normalization*.py", "nn/test_state.py", "test_generation.py"],
    "tape.py": TAPE,
    "tensor.py": [*TAPE, "test_in_place.py", "test_integrity.py", "ops/test_numpy_protocol.py"],
    **{
        f"definitions/{name}.py": others
        for name, others in {
            "activation": ["ops/test_activation.py", "ops/test_normalization*.py"],
            "convolution": ["ops/test_convolution.py"],
            "elementwise": ["ops/test_elementwise*.py", "ops/test_activation.py"],
            "linear": ["ops/test_matmul.py"],
            "loss": ["ops/test_loss.py"],
            "normalization": ["ops/test_normalization*.py"],
            "optimizer": ["optim/test_adam.py", "optim/test_rmsprop.py", "optim/test_sgd.py"],
            "pooling": ["ops/test_pooling.py"],
            "special": ["ops/test_activation.py", "ops/test_elementwise*.py"],
        }.items()
    },
    **{f"{name}.py": [*TAPE, "test_tensor.py"] for name in AROUND},
    **{f"optim/{name}.py": ["optim/test_optimizer*.py"] for name in ("adam", "rmsprop", "sgd")},
    "ops/arguments.py": ["ops/test_interpolation.py", "ops/test_pooling.py"],
    "training/trainer.py": ["training/test_checks.py"],
    "viz/graph.py": ["viz/test_drawing.py", "viz/test_cards.py", "viz/test_outline.py"],
    "modes.py": [*TAPE, "test_in_place.py"],
    "optim/param_group.py": ["test_generation.py"],
    "ops/reduction.py": ["ops/test_activation.py"],
}
"""Tests that a file needs beyond those of its own name, as patterns."""
ENOUGH = 0.98
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYTEST_ADDOPTS": "",
    "PYTHONDONTWRITEBYTECODE": "1",  # two mutants of one size, made in one second, would share a compiled file
    "TINYGRAD_NORM_KERNELS": "reference",
}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "hypothesis.extra.numpy", "numpy"])  # saves half of a short run
LIMIT = 20  # seconds, and ten times what the tests take on the original
MEMORY = 8 << 30


class Subject(NamedTuple):
    """A mutant and the file it is in."""

    file: str
    mutant: Mutant

    @property
    def fault(self) -> Fault:
        """What names it, wherever it stands in the file."""
        return Fault(self.file, self.mutant.function, self.mutant.before, self.mutant.after)


def core(patterns: list[str]) -> list[str]:
    """The files of the package that match `patterns`, without those that only import."""
    found = []
    for pattern in patterns:
        matches = sorted(path for path in PACKAGE.glob(pattern) if path.name != "__init__.py")
        if not matches:
            raise SystemExit(f"mutation: no file in {PACKAGE.name}/ is named {pattern}")
        found += [path.relative_to(PACKAGE).as_posix() for path in matches]
    return found


def mirrors(file: str) -> list[str]:
    """The tests of a file of the package, by path: those of its name, and of its name with something added."""
    path = Path(file)
    own = f"{path.parent}/test_{path.stem}"
    found = [f"{own}.py", f"{own}_*.py", *ALSO.get(file, [])]
    tests = [test.relative_to(TESTS).as_posix() for pattern in found for test in sorted(TESTS.glob(pattern))]
    if not tests:
        raise SystemExit(f"mutation: no test mirrors {file}; tests/{own}.py would")
    return list(dict.fromkeys(tests))


def sample(files: list[str], count: int, seed: int) -> tuple[list[Subject], int]:
    """`count` different mutants of `files`, and how many were met on the way that nobody can tell from the original."""
    sources = {file: (PACKAGE / file).read_text() for file in files}
    everything = [Subject(file, mutant) for file in files for mutant in mutants(sources[file])]
    known = equivalents()
    if gone := [fault for fault in known if fault.file in files and fault not in {one.fault for one in everything}]:
        print(f"No longer in the code, so to be taken out of {TABLE.name}:", *gone, sep="\n", end="\n\n")
    random.Random(seed).shuffle(everything)
    seen = {(file, fingerprint(source)) for file, source in sources.items()}
    chosen: list[Subject] = []
    same = 0
    for subject in everything:
        if len(chosen) == count:
            break
        program = subject.file, fingerprint(subject.mutant.apply(sources[subject.file]))
        if subject.fault in known:
            same += 1
        elif program not in seen:
            chosen.append(subject)
        seen.add(program)
    return chosen, same


# Running tests on a copy


def run_tests(copy: Path, tests: list[str], limit: float, *options: str) -> int | None:
    """The status of pytest on `tests` with the package in `copy`, or None where it took longer than `limit` seconds."""
    command = f"-x -q --assert=plain -p no:cacheprovider -c {ROOT}/pyproject.toml --rootdir {ROOT}".split(" ")
    command += ["--basetemp", str(copy / "temporary"), *options, *(str(TESTS / test) for test in tests)]
    process = PROCESSES.Process(target=_pytest, args=(copy, command))
    process.start()
    process.join(limit)
    status = process.exitcode
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
    process.join()
    return status


def _pytest(copy: Path, command: list[str]) -> None:
    """Run pytest in this process, as one that was started in `copy`, and end with its status."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    output = os.open(copy / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path.insert(0, str(copy))
    sys.exit(pytest.main(command))


def durations(copy: Path, tests: list[str]) -> dict[str, float]:
    """Seconds that each file of tests takes on the original, on which all must pass."""
    status = run_tests(copy, tests, 1800, "--junitxml", str(copy / "durations.xml"))
    if status != 0:
        raise SystemExit(f"mutation: the tests fail without a mutant\n{(copy / 'output').read_text()[-3000:]}")
    seconds = dict.fromkeys(tests, 0.0)
    for case in ElementTree.parse(copy / "durations.xml").iter("testcase"):
        module = case.get("classname", "").removeprefix("tests.").replace(".", "/") + ".py"
        seconds[module] += float(case.get("time", 0))
    return seconds


def verdict(copy: Path, subject: Subject, seconds: dict[str, float]) -> str:
    """What became of a mutant: "killed", "timeout" or "survived"."""
    target, original = copy / PACKAGE.name / subject.file, PACKAGE / subject.file
    tests = sorted(mirrors(subject.file), key=seconds.__getitem__)
    target.write_text(subject.mutant.apply(original.read_text()))
    try:
        status = run_tests(copy, tests, LIMIT + 10 * sum(seconds[test] for test in tests))
    finally:
        shutil.copy2(original, target)
    return {None: "timeout", 0: "survived"}.get(status, "killed")


def verdicts(subjects: list[Subject], jobs: int) -> Iterator[tuple[Subject, str]]:
    """What became of each mutant, `jobs` at a time, each on a copy of its own."""
    tests = sorted({test for subject in subjects for test in mirrors(subject.file)})
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for i in range(jobs):
            shutil.copytree(PACKAGE, Path(folder, str(i), PACKAGE.name))
            copies.put(Path(folder, str(i)))
        seconds = durations(Path(folder, "0"), tests)

        def judge(subject: Subject) -> tuple[Subject, str]:
            copy = copies.get()
            try:
                return subject, verdict(copy, subject, seconds)
            finally:
                copies.put(copy)

        yield from pool.map(judge, subjects)


# The report


def main() -> int:
    """Run the campaign and print what it found; the status is 1 where too few are killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.mutation", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", default=CORE, metavar="FILE", help="in tinygrad_norm/; the core, if none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="mutants in the sample (default 200)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time (default: one for each core)")
    args = parser.parse_args()
    begin = time.monotonic()
    os.environ.update(ENVIRONMENT)
    subjects, same = sample(core(list(args.files)), args.count, args.seed)
    found: Counter[str] = Counter()
    for subject, result in verdicts(subjects, args.jobs):
        found[result] += 1
        if result == "survived":
            print(f"# {PACKAGE.name}/{subject.file}:{subject.mutant.line}", subject.fault, sep="\n", flush=True)
    killed = found["killed"] + found["timeout"]
    share = killed / len(subjects)
    print(f"""
| seed | mutants | killed | of these by time | survived | equivalent, left out | share killed | minutes |
|---|---|---|---|---|---|---|---|
| {args.seed} | {len(subjects)} | {killed} | {found["timeout"]} | {found["survived"]} | {same} | {share:.1%} | \
{(time.monotonic() - begin) / 60:.1f} |""")
    return int(share < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
