"""An attack and a method that look for the run, the coins and the store wherever they can."""

import gc
import os
import sys
from pathlib import Path

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Method,
    MethodInfo,
    PositiveControl,
    Release,
    Scores,
)

POINTS = {"attacks": {"reads": "ReadsAttack"}, "methods": {"reads": "ReadsMethod"}}


class ReadsAttack(Attack):
    """Scores at random, and tells how much it found."""

    info = AttackInfo(
        name="reads",
        version="1",
        summary="Looks for the coins.",
        positive_controls=(PositiveControl(at_least=0.0),),
    )

    def run(self, view, candidates, auxiliary, context):
        """Look everywhere, then score at random."""
        scores = context.rng("scores").random(len(candidates))
        return Scores(values=scores, notes=look(context))


class ReadsMethod(Method):
    """Releases noise, and tells how much it found."""

    info = MethodInfo(name="reads", version="1", summary="Looks for the coins.")

    def fit(self, members, context):
        """Look everywhere, then release the members' labels with noise."""
        noise = context.rng("noise").random(members.data.shape).astype(members.data.dtype)
        return Release(records=members.replace(data=noise, groups=None), notes=look(context))


def look(context):
    """Numbers of objects found, of files read and of files written that it should not have."""
    from benchmark.coins import Secret
    from benchmark.store import Store

    kinds = (Store, Secret)
    objects = [o for o in gc.get_objects() if isinstance(o, kinds)]
    frame = sys._getframe()
    while frame:
        objects += [v for v in frame.f_locals.values() if isinstance(v, kinds)]
        frame = frame.f_back
    read = written = 0
    for root in runs(context):
        for name in ("run.json", "private/coins.json", "plan.json", "results.parquet"):
            read += can(root / name, "rb")
            written += can(root / name, "r+b")
        for path in [*root.glob("records/*.json"), *root.glob("artifacts/*/*")]:
            read += can(path, "rb")
        written += can(root / "records" / f"{'0' * 64}.json", "w")
    read += sum(can(process / "mem", "rb") for process in ancestors())
    looked = sum(1 for _ in runs(context))
    return {"objects": len(objects), "read": read, "written": written, "looked": looked}


def runs(context):
    """Folders that may be the run's: on its ancestors' command lines, in the environment, above the scratch folder."""
    words = [*sys.argv, *os.environ.values(), str(context.scratch), os.getcwd()]
    for process in ancestors():
        words += (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    for word in dict.fromkeys(words):
        if word.startswith("/") and len(word) < 1000:
            for folder in (Path(word), *Path(word).parents):
                if (folder / "records").is_dir() and (folder / "artifacts").is_dir():
                    yield folder


def ancestors():
    """The server, the main process, and so on: not those of other runs, which are no business of a test."""
    process = Path("/proc/self")
    while True:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        process = Path("/proc") / status["PPid"].strip()
        if not process.exists():
            return
        yield process


def can(path, mode):
    """Whether a file can be opened."""
    try:
        with open(path, mode):
            return True
    except OSError:
        return False
