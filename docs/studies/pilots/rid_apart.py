"""rid_apart: RID whose distillation takes the latents as constants; idea 10 of docs/studies/ours.md."""

from ril_bench import registry

Rid = registry.load("method", "rid")


class RidApart(Rid):
    """RID with one more call for each differentiated one, at the same latents without their graph.

    Under DRaFT with k > 1 the latents of a step depend on the weights through the steps before. The output in
    rid's loss keeps that dependence and its teacher's output does not, so its gradient is neither that of a
    distillation on given latents nor that along the whole chain. Here it is the former.
    """

    def prediction_loss(self, prediction):
        p = prediction
        return super().prediction_loss(p.with_output(self._model.predict(p.x_t, p.t, p.prompts, p.guidance)))
