"""DiffusionNFT (arXiv 2509.16117): contrast a better and a worse policy on noised own images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, Task
from ril_bench.tuners.forward_process import ForwardProcessTuner, scaled_error
from ril_bench.tuners.samples import CLIP_ADVANTAGE


class Nft(ForwardProcessTuner):
    """DiffusionNFT: denoise good images with the model, and bad images with its mirror image about the old policy.

        A = (r - mean over the prompt's copies) / deviation of the batch,     q = clip(A / 10 + 1/2, 0, 1)
        v+ = beta v_theta + (1 - beta) v_old,     v- = (1 + beta) v_old - beta v_theta
        L = 5 mean [q |x0(v+) - x0|^2 / (beta w+) + (1 - q) |x0(v-) - x0|^2 / (beta w-)]
            + kl mean |v_theta - v_ref|^2

    over copies and noised versions x_t of each image x0; x0(v) is x0hat, w = sg mean |x0(v) - x0| of an image, and
    v = noise - x0hat [code: NVlabs/DiffusionNFT]. Where the denoiser predicts noise, noise is mixed: v is affine in it
    at a given x_t, so that is the same [ours]. The old policy, a moving average of the model, samples the images. Where
    all rewards are equal, q = 1/2 and the loss has its minimum at the old policy.

    Published: beta 1 (0.1 for OCR and for several rewards), kl 1e-4 with the pretrained model as reference, 24 images
    of 48 prompts, a deterministic solver of 10 to 25 steps, no guidance, lr 3e-4, rank 32 [code].

    Cost: an update of N prompts takes samples x T calls of the denoiser without gradient, `samples` decodings and
    reward calls (all this once in `reuse` updates); samples x noises calls with gradient, as many of the old policy,
    and with `kl` as many of the reference.
    """

    class Options(ForwardProcessTuner.Options):
        beta: Annotated[float, Field(gt=0)] = 1.0
        """How far the two policies are from the old one, in units of v_theta - v_old."""
        kl: Annotated[float, Field(ge=0)] = 1e-4
        """Weight of the distance to the `reference` in velocity; the pretrained model in the release."""

    options: Options

    def update_cost(self, steps: int, guided: int) -> Cost:
        others = 1 + (self.options.kl > 0)  # the old policy, the reference
        return self.rollouts_cost(steps, guided) + self.noised_cost(steps, others)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        batch, copies = self.trajectories(model, task, batch)
        qs, beta, steps = self.optimality(batch, copies), self.options.beta, self.drawn_steps(task, batch)
        losses, total = LossAccumulator(batch, calls=len(steps) * len(copies)), 0.0
        for i in steps:
            for j, (copy, q) in enumerate(zip(copies, qs, strict=True)):
                noised = self.noised(model, task, batch, copy, j, i)
                old = self.old_prediction(model, task, noised)
                new = noised.predicted(model, task)
                losses.penalise(new)
                better = new.with_output(beta * new.output + (1 - beta) * old.output)
                worse = new.with_output((1 + beta) * old.output - beta * new.output)
                good, bad = scaled_error(better.x0(), copy.x0), scaled_error(worse.x0(), copy.x0)
                loss = CLIP_ADVANTAGE / beta * (q * good + (1 - q) * bad).mean()
                if self.options.kl:
                    reference = self.reference_prediction(model, task, noised)
                    loss = loss + self.options.kl * (new.velocity() - reference.velocity()).square().mean()
                loss = loss / (len(steps) * len(copies))
                losses.backward(loss)
                total += loss.item()
        return losses.log(sum(copy.reward.mean().item() for copy in copies) / len(copies), total)
