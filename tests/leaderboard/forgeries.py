"""Entries that should gain nothing: each is made from an honest leaderboard, and says what finds it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.leaderboard.forging import (
    Forge,
    all_adapters,
    as_shipped,
    between_is_last,
    between_updates,
    called,
    compressed,
    constant,
    costs,
    digits,
    huge,
    metric,
    on_card,
    on_machine,
    one_seed_as_all,
    other_seed,
    plus,
    scores,
    sealed,
    share,
    sheet,
    sheet_of,
    text,
    times,
    trials,
    under,
    under_other_seeds,
    untrained,
    written,
)
from tests.leaderboard.tampering import appended

RESAMPLE, RERUN, NOTHING = "resample", "rerun", "nothing"


@dataclass(frozen=True)
class Forgery:
    """A forged leaderboard; `found_by`: the check that refuses it, or nothing, where the level says what is known."""

    name: str
    forge: Forge
    found_by: str


FRAMES = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in range(99)]
WORDS = PngInfo()
for _k in range(10_000):
    WORDS.add_text(f"k{_k}", "v")
STRONGER = {"options": {"strength": 30.002}, "resolved": {"strength": 30.002}}
NAIVE = "the same code, by another author"

FORGERIES = (
    # the rows between the first step and the last
    Forgery("between as last: FORGET 0", between_is_last, RESAMPLE),
    Forgery("between lowered by 5 sigma", scores(1, plus(-5)), RESAMPLE),
    Forgery("between lowered by 1000", scores(1, plus(-1000)), "bounds"),
    Forgery("between lowered by 1e300", scores(1, constant(-1e300)), "parses"),
    Forgery("between denormal", scores(1, constant(5e-324)), "parses"),
    Forgery("LEARN plus 1000", scores(1, plus(1000)), "bounds"),
    Forgery("LEARN plus 1", scores(1, plus(1)), RESAMPLE),
    Forgery("between a little lower", scores(1, plus(-0.02)), RESAMPLE),
    # the last row
    Forgery("half of the last row", scores(2, share(0.5, 10)), RESAMPLE),
    Forgery("three quarters of the last row", scores(2, share(0.75, 10)), RESAMPLE),
    Forgery("one image of the last row", scores(2, share(0.1, 90)), RESAMPLE),
    Forgery("last row by 0.04 sigma", scores(2, plus(0.04)), RESAMPLE),
    Forgery("last row by 0.1 sigma on another CPU", on_machine(scores(2, plus(0.1)), cpu="another"), RESAMPLE),
    Forgery("last row by 0.19 sigma on a GPU", on_machine(scores(2, plus(0.19)), gpu="a GPU"), RESAMPLE),
    Forgery("row 0 by 0.04 sigma", scores(0, plus(0.04)), RESAMPLE),
    Forgery("row 0 by 0.1 sigma on another CPU", on_machine(scores(0, plus(-0.1)), cpu="another"), "row 0"),
    Forgery("row 0 by 0.19 sigma on a GPU", on_machine(scores(0, plus(-0.19)), gpu="a GPU"), "row 0"),
    # adapters and seeds
    Forgery("the pretrained model as a method", all_adapters(untrained), "copies"),
    Forgery("the pretrained model without an adapter", all_adapters(lambda tensors: {}), "costs"),
    Forgery("one seed as all", one_seed_as_all(), "copies"),
    Forgery("one seed as all, with noise", one_seed_as_all(0.02), "copies"),
    Forgery("the best of many seeds", other_seed, RERUN),
    # names
    Forgery("another's runs under a new name", called("foresight", file=NAIVE), "copies"),
    Forgery("another's runs under a new name and other seeds", under_other_seeds("foresight", file=NAIVE), "copies"),
    Forgery("a new name without its file", called("foresight"), "method.py"),
    Forgery("a new name, and the original is gone", called("foresight", beside=False), "method.py"),
    Forgery("an oracle that says it is none", called("foresight", file=NAIVE, beside=False, oracle=False), NOTHING),
    Forgery("naive as rid, beside naive", as_shipped("rid", beside=True), "copies"),
    Forgery("naive as rid", as_shipped("rid", beside=False), RERUN),
    Forgery("naive as ewc", as_shipped("ewc", beside=False), RERUN),
    Forgery("joint that is no oracle", as_shipped("joint", beside=False, oracle=False), "oracle"),
    Forgery("rid with options that it has not", as_shipped("rid", beside=False, resolved={}), "options"),
    Forgery("an unlabelled l2 of another strength", as_shipped("l2", beside=False, **STRONGER), "options"),
    Forgery("rid with another file", called("rid", beside=False), "method.py"),
    Forgery("a second, worse naive", called("naive", beside=False, file_sha256="0" * 64), "method.py"),
    Forgery("draft's results as refl's", under(tuner="refl"), "copies"),
    Forgery("a rival under another order", under(order="reversed"), RERUN),
    *(
        Forgery(f"called {name}", called(name, beside=False, file=NAIVE), "names")
        for name in ("Naive", "RID", "r1d", "nalve", "na.ive", "con", "nul.txt", "LPT1", "naive.", "jolnt")
    ),
    *(Forgery(f"called {name}", called(name, beside=False, file=NAIVE), "files") for name in ("--", "..x")),
    Forgery("a label that is a formula", called("mine@=1+1", beside=False, file=NAIVE), "record"),
    Forgery("a label that calls everyone", called("mine@@everyone", beside=False, file=NAIVE), "record"),
    # metrics of images, and costs
    Forgery("FID 0", metric("fidelity", fid=0.0), RESAMPLE),
    Forgery("SSIM 1", metric("structure", ssim_to_0=1.0), RESAMPLE),
    Forgery("SSIM a twentieth higher", times("structure", "ssim_to_0", 1.0475), RESAMPLE),
    Forgery("FID a twentieth lower", times("fidelity", "fid", 0.9525), RESAMPLE),
    Forgery("drift 0", metric("drift", to_0=0.0), RESAMPLE),
    Forgery("FID -50", metric("fidelity", fid=-50.0), "ranges"),
    Forgery("SSIM 7", metric("structure", ssim_to_0=7.0), "ranges"),
    Forgery("FID 1e308", metric("fidelity", fid=1e308), "parses"),
    Forgery("FID denormal", metric("fidelity", fid=5e-324), "parses"),
    Forgery("SSIM 1e308", metric("structure", ssim_to_0=1e308), "parses"),
    Forgery("a diversity of 401 digits", metric("diversity", vendi=10**400), "parses"),
    Forgery("costs all zero", costs(denoiser_forwards=0, train_seconds=0.0), "costs"),
    Forgery("no seconds", costs(train_seconds=0.0), "costs"),
    Forgery("no stored bytes", costs(stored_bytes=0, carried_bytes=0), "costs"),
    Forgery("nothing carried", costs(carried_bytes=0), "costs"),
    Forgery("a consolidation without calls", costs(consolidation_updates=10**6), "costs"),
    Forgery("a count of 401 digits", digits("run.json", "seed"), "parses"),
    Forgery("1e300 seconds", costs(train_seconds=1e300), "parses"),
    # keys that a report would read, or trip over
    Forgery("a run with digests of files", written("run.json", files={}), "record"),
    Forgery("a run with a seal", written("run.json", sha256="x"), "record"),
    Forgery("a step that gained a list", costs(gain=[1]), "record"),
    Forgery("metrics with a seal", written("metrics.json", sha256="x"), "images"),
    Forgery("scales that are a number", written("metrics.json", scales=5), "images"),
    Forgery("scales without rows", written("metrics.json", scales=[1]), "images"),
    # tables
    Forgery("a table compressed with zstd", compressed("zstd"), "opens"),
    Forgery("a table compressed with brotli", compressed("brotli"), "opens"),
    Forgery("scores between updates that the sequence has not", between_updates, "rows between updates"),
    # words
    Forgery("another calibration under its digest", text("run.json", '"b": ', '"b": 1'), "calibrated"),
    Forgery("trials that were more", trials, NOTHING),
    Forgery("another seed's contact sheet", sheet_of(1), RESAMPLE),
    Forgery("5,000 versions", written("run.json", versions={f"v{k}": "1" for k in range(5000)}), "record"),
    Forgery("3,000 notes", written("metrics.json", notes=["a note"] * 3000), "images"),
    Forgery("words in place of a prompt", text("metrics.json", '"prompt": "', '"prompt": "buy '), "images"),
    # odd bytes
    Forgery("an adapter of 1e30", all_adapters(huge), "adapter"),
    Forgery("a yaml tag", on_card("oracle: false", "oracle: !!bool maybe"), "method.yaml"),
    Forgery("an empty yaml number", on_card("seeds: 3", "seeds: !!int"), "method.yaml"),
    Forgery("an image of 1 x 8,000,000", sheet("PNG", (1, 8_000_000)), "opens"),
    Forgery("an image of 16,000 lines", sheet("WEBP", (1, 16_000)), "opens"),
    Forgery("an APNG of 100 frames", sheet("PNG", save_all=True, append_images=FRAMES), "opens"),
    Forgery("a WebP of 100 frames", sheet("WEBP", save_all=True, append_images=FRAMES), "opens"),
    Forgery("10,000 texts in an image", sheet("PNG", pnginfo=WORDS), "files"),
    Forgery("a WebP with metadata", sheet("WEBP", exif=b"Exif\0\0" + b"x" * 100), "opens"),
    Forgery("a page behind the image", sealed(appended("contact.webp", b"<html>")), "opens"),
)  # fmt: skip
