"""The one table of metrics: name, formula, range, direction, meaning, and when to distrust the number.

Pages, the command line and the documentation take their explanations from here. Nothing heavy is imported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ril_bench.scoring.collapse import LEAST_SHARE

REWARDS, IMAGES, COST = "Rewards", "Images", "Cost"
NOTATION = (
    "N[i][j] is reward j after step i on one scale: 0 is the pretrained model, and 1 is what tuning on reward j "
    "alone reaches (without a calibration: one standard deviation of the pretrained model's scores over prompts). "
    "Step 0 is the pretrained model, task j is trained at step j, and T is the number of tasks."
)


@dataclass(frozen=True)
class Metric:
    """What a reader needs to know about one metric.

    name: its column in tables; key: its place in metrics.json, or where else it is stored; better: +1 where higher
    is better, -1 where lower is; distrust: when the number misleads.
    """

    name: str
    group: str
    better: int
    formula: str
    range: str
    meaning: str
    distrust: str
    key: str

    @property
    def direction(self) -> str:
        """The direction in words."""
        return "higher is better" if self.better > 0 else "lower is better"


METRICS = (
    Metric(
        "FORGET",
        REWARDS,
        -1,
        "mean over j < T of (max of N[l][j] over j ≤ l < T) − N[T][j]",
        "any number; nothing forgotten reads as the floor, not as 0",
        "How far earlier rewards fell from the best value that they reached after they were learned.",
        "The maximum picks up noise, so the metric is biased upward: read it against its floor. A method that learns "
        "nothing has nothing to forget: read LEARN beside it.",
        "continual.normalised.FORGET",
    ),
    Metric(
        "BWT",
        REWARDS,
        +1,
        "mean over j < T of N[T][j] − N[j][j]",
        "any number; below 0 is forgetting, above 0 is a gain from later tasks",
        "Backward transfer: what later tasks did to the rewards that were learned before them.",
        "A method that learns nothing has a BWT of 0: read LEARN beside it.",
        "continual.normalised.BWT",
    ),
    Metric(
        "LEARN",
        REWARDS,
        +1,
        "mean over j of N[j][j] − N[j−1][j]",
        "any number; 1 is what tuning on each reward alone gains",
        "How far each task raised its own reward while that task was trained.",
        "Earlier tasks may lower a reward first, so that its own task regains more than 1. One reward can dominate "
        "the mean: look at the gain of each.",
        "continual.normalised.LEARN",
    ),
    Metric(
        "FINAL",
        REWARDS,
        +1,
        "mean over j of N[T][j]",
        "any number; 0 is the pretrained model, 1 is tuning on each reward alone",
        "The mean reward of the last model.",
        "One reward that rose far above 1 hides another that fell below 0: read WORST beside it.",
        "continual.normalised.FINAL",
    ),
    Metric(
        "WORST",
        REWARDS,
        +1,
        "min over j of N[T][j]",
        "any number; below 0 some reward is worse than before all training",
        "The lowest reward of the last model.",
        "A minimum is noisier than a mean, and a probe is not part of it.",
        "continual.normalised.WORST",
    ),
    Metric(
        "AVG-INC",
        REWARDS,
        +1,
        "mean over i = 1..T of the mean over j ≤ i of N[i][j]",
        "any number; 1 is tuning on each reward alone",
        "The average incremental score: the mean reward of the tasks trained so far, averaged over all steps.",
        "Early tasks count more often than late ones, so the order of tasks changes the value.",
        "continual.normalised.AVG-INC",
    ),
    Metric(
        "FWT",
        REWARDS,
        +1,
        "mean over j ≥ 2 of N[j−1][j] − N[0][j]",
        "any number; 0 is no effect",
        "Forward transfer: what earlier tasks did to a reward before its own task began.",
        "It depends on which rewards agree with each other, hence on the sequence more than on the method.",
        "continual.normalised.FWT",
    ),
    Metric(
        "AAA",
        REWARDS,
        +1,
        "mean over evaluations e of the mean over j ≤ k_e of N[e][j], where task k_e is being trained at e",
        "any number; 1 is tuning on each reward alone",
        "Average anytime score: like AVG-INC, over the evaluations inside tasks too.",
        "It is there only where a sequence evaluates inside tasks, and the interval of evaluation is part of it.",
        "anytime.normalised.AAA",
    ),
    Metric(
        "MINPERF",
        REWARDS,
        +1,
        "mean over j < T of the min of N[e][j] over evaluations e in later tasks",
        "any number; at most FINAL of the earlier rewards",
        "The lowest value that each earlier reward reached after it was learned, however briefly.",
        "The minimum picks up noise, so the metric is biased downward, and more so with more evaluations.",
        "anytime.normalised.MINPERF",
    ),
    Metric(
        "WC-ACC",
        REWARDS,
        +1,
        "N[T][T] / T + (1 − 1 / T) MINPERF",
        "any number; 1 is tuning on each reward alone",
        "Worst-case score: the last reward at the end, and the earlier rewards at their lowest.",
        "It inherits the downward bias of MINPERF.",
        "anytime.normalised.WC-ACC",
    ),
    Metric(
        "RETAIN",
        REWARDS,
        +1,
        "(R[T][j] − R[0][j]) / (R[j][j] − R[0][j]), reward by reward, in the reward's own unit",
        "any number; 1 kept all of its gain, 0 lost it, below 0 lost more",
        "The share of its gain that a reward kept to the end.",
        "It is left out where a task gained less than twice its standard error; the last task's value is 1 by "
        "definition.",
        "retain",
    ),
    Metric(
        "SSIM to step 0",
        IMAGES,
        +1,
        "mean SSIM of image pairs, one prompt and one latent at steps 0 and T (Gaussian window of 11, RGB)",
        "−1 to 1; 1 is the identical image, the floor is two unrelated images of one prompt",
        "Structural similarity: how much of the pretrained model's images is left, pixel by pixel.",
        "It does not measure forgetting: on shapes-ril joint training forgets least and is the furthest from step 0. A "
        "shift of a few pixels or of the whole colour lowers it although the content is the same; a reward that must "
        "change every pixel, such as brightness, lowers it too.",
        "structure.steps[].ssim_to_0",
    ),
    Metric(
        "MS-SSIM to step 0",
        IMAGES,
        +1,
        "as SSIM, at several resolutions, each a half of the one before (3 for 64 pixels, 5 from 176)",
        "0 to 1; 1 is the identical image",
        "Multi-scale structural similarity: as SSIM, with more weight on the coarse layout.",
        "Values at different image sizes use different scales and do not compare.",
        "structure.steps[].ms_ssim_to_0",
    ),
    Metric(
        "LPIPS to step 0",
        IMAGES,
        -1,
        "sum over layers of the mean over positions of Σ_c w_c (a_c / |a| − b_c / |b|)²",
        "0 upward; 0 is the identical image",
        "Perceptual distance of image pairs in the feature maps of a network.",
        "On shapes-64 the network is the world's own and the weights are equal: the value compares steps of this "
        "sequence, and does not compare with a published LPIPS.",
        "structure.steps[].lpips_to_0",
    ),
    Metric(
        "edges to step 0",
        IMAGES,
        +1,
        "F1 of Canny edges, 1 pixel tolerated",
        "0 to 1; 1 has all edges in the same places",
        "Whether outlines stayed where they were, whatever became of the colours.",
        "Texture that a reward adds counts as new edges, so a small pattern lowers it far.",
        "structure.steps[].edges_to_0",
    ),
    Metric(
        "cosine to step 0",
        IMAGES,
        +1,
        "mean of a·b / (|a| |b|), a and b the feature vectors of an image pair",
        "−1 to 1; 1 points in the same direction",
        "Feature cosine: whether the content of images stayed the same for a feature network.",
        "Features of one kind of image all point in nearly the same direction: read it against its floor, which is "
        "often above 0.9.",
        "structure.steps[].cosine_to_0",
    ),
    Metric(
        "KID",
        IMAGES,
        -1,
        "mean k(a, a′) + mean k(b, b′) − 2 mean k(a, b), k(x, y) = (x·y / d + 1)³",
        "about 0 upward; a little below 0 by chance",
        "Kernel distance between the images as a whole and the pretrained model's, without bias in their number.",
        "Its unit is that of the features, so it compares within one sequence only. With a few dozen images its "
        "noise is larger than most differences: read it against its floor.",
        "fidelity.steps[].kid",
    ),
    Metric(
        "FID",
        IMAGES,
        -1,
        "|m_a − m_b|² + tr(S_a + S_b − 2 (S_a S_b)^½), m and S the mean and covariance of image features",
        "0 upward; the pretrained model's own second set of images reads as the floor",
        "Fréchet distance between the images as a whole and the pretrained model's.",
        "It is far too high with few images: where there are fewer than twice as many images as features, pages call "
        "it biased. On shapes-64 the features are the world's own, so the value does not compare with a published "
        "FID.",
        "fidelity.steps[].fid",
    ),
    Metric(
        "Vendi",
        IMAGES,
        +1,
        "exp of the entropy of the eigenvalues of K / n, K the cosines of a prompt's n images",
        "1 to n; 1 is the same image again and again",
        "How many different images a prompt has, in effect.",
        "With two images a prompt it can only move between 1 and 2, and noise counts as diversity.",
        "diversity.steps[].vendi",
    ),
    Metric(
        "pairwise",
        IMAGES,
        +1,
        "mean Euclidean distance of the features of a prompt's images, two by two",
        "0 upward, in the unit of the features",
        "How far the images of one prompt lie apart.",
        "It grows with the length of the features, whether or not images differ in kind.",
        "diversity.steps[].pairwise",
    ),
    Metric(
        "drift",
        IMAGES,
        -1,
        "mean over rollouts of step T's model of Σ_k b_k² |out_T − out_0|² / (2 σ_k²), over sampling steps k; b_k is "
        "the coefficient of the denoiser's output (noise, or a velocity) in the sampler's mean, σ_k the deviation of "
        "the noise that the sampler adds; out_T and out_0 are guided predictions of both models at the same latents",
        "0 upward, in nats; 0 is the pretrained model",
        "How far the last model's sampling chain moved from the pretrained model's: the KL divergence of whole paths.",
        "It depends on the sampler's steps, eta and guidance, and on the size of the latents, so it compares within "
        "one sequence only. It is an upper bound on the KL of the images: a change of paths that no image shows "
        "counts too. Without noise (eta 0) it is not defined.",
        "drift.steps[].to_0",
    ),
    Metric(
        "collapsed steps",
        IMAGES,
        -1,
        f"number of steps i where attributes, clip_score or pairwise of step i < {LEAST_SHARE:g} of step 0's",
        "0 to T; 0 has no collapsed step",
        "In how many steps images stopped following their prompts, or became nearly the same for all latents.",
        "A reward that is not about the prompt may lower attributes without a visible collapse: look at the images. "
        "The bound is a convention. Only the measures that the sequence has are watched. No file has the count: it is "
        "computed from the diversity and from matrix.csv.",
        "diversity.steps[].pairwise",
    ),
    Metric(
        "updates spent",
        COST,
        -1,
        "sum over steps of the updates that were made, those of a consolidation included",
        "0 upward; at most the sum of the budgets, and for joint training k times the budgets so far in every step; a "
        "consolidation comes on top",
        "How much training a method used; where tasks end at a criterion, a method that learns slowly spends more.",
        "Without a criterion every method spends its budget, and only a consolidation changes the number. An update of "
        "one method may take other calls than an update of another.",
        "run.json: steps[].updates, steps[].consolidation_updates",
    ),
    Metric(
        "carried MB",
        COST,
        -1,
        "bytes that a method stores for the next task / 10⁶",
        "0 upward",
        "What the method keeps from task to task: adapters, stored images, statistics.",
        "The run counts it itself; nobody can compute it again from an entry's files.",
        "resources.carried_bytes",
    ),
    Metric(
        "denoiser evaluations",
        COST,
        -1,
        "sum over steps after step 0 of the images that passed through the denoiser",
        "0 upward",
        "Forward passes of the denoiser, training and evaluation together.",
        "A backward pass costs more and is counted apart; the same number is not the same time on two machines.",
        "run.json: steps[].denoiser_forwards",
    ),
    Metric(
        "seconds",
        COST,
        -1,
        "sum over steps after step 0 of training and evaluation time",
        "0 upward",
        "Wall time of training and evaluation, on the machine that ran it.",
        "Compare it only between runs of one machine that had nothing else to do.",
        "run.json: steps[].train_seconds, steps[].evaluation_seconds",
    ),
    Metric(
        "cost ratio",
        COST,
        -1,
        "measured time / bare time of the same denoiser evaluations, decodings and reward calls",
        "about 1 upward; 1 has no overhead",
        "What the benchmark and the method add to the bare cost of the calls that they make. A call of the bare cost "
        "has at most one adapter, whatever the method has active.",
        "The bare cost is measured briefly, and once on a machine: a machine that is busier during the run raises the "
        "ratio, and a quieter one lowers it, even below 1.",
        "run.json: cost.training_ratio",
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def glossary() -> list[dict[str, Any]]:
    """All metrics as plain data: name, group, better (+1 or -1), direction, formula, range, meaning, distrust, key."""
    return [asdict(metric) | {"direction": metric.direction} for metric in METRICS]


def better(name: str) -> int:
    """+1 where a higher value of a column is better, -1 where a lower is; a single reward is better higher."""
    return BY_NAME[name].better if name in BY_NAME else +1
