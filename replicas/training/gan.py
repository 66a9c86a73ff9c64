"""Train the GAN: `python -m replicas.training.gan`. Needs the autoencoder's weights.

First 60 % of the steps: a conditional VAE alone, so that noise comes to mean layout. Then a discriminator joins, with
hinge losses; it sees real latents, drawn latents, and real latents under the wrong words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from replicas.autoencoder import LATENT_CHANNELS
from replicas.blocks import Block, RMSNorm
from replicas.gan import NOISE_VALUES, BagOfWords, new_generator
from replicas.patches import TOKENS
from replicas.text import WordTokenizer

from .loop import Plan, Run, compiled, learning_rate, parse_arguments, save_weights
from .scenes import latent_batches

BATCH = 48
WIDTH = 128
VAE_SHARE = 0.6
KL_WEIGHT = 0.01
KL_WARM_UP_SHARE = 0.4  # of the steps; without it the noise is ignored from the start (posterior collapse)
ADVERSARIAL_WEIGHT = 0.1
INSTANCE_NOISE = 0.15  # keeps the discriminator from judging what the decoder takes out anyway


class LatentCritic(nn.Module):
    """A ViT over latents and a bag of words; `out` values a picture from the mean token, one value a token beside."""

    def __init__(self, layers: int, out: int) -> None:
        super().__init__()
        self.words = BagOfWords(WordTokenizer().size, WIDTH)
        self.embed = nn.Linear(LATENT_CHANNELS, WIDTH)
        self.position = nn.Parameter(0.1 * torch.randn(TOKENS, WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH, 2) for _ in range(layers))
        self.norm = RMSNorm(WIDTH)
        self.token = nn.Linear(WIDTH, 1)
        self.picture = nn.Linear(WIDTH, out)

    def forward(self, latents: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 64, 16], [B, T] -> [B, out], [B, 64]."""
        x = self.embed(latents) + self.position + self.words(ids)[:, None]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.picture(x.mean(1)), self.token(x).squeeze(-1)


class VariationalGenerator(nn.Module):
    """The generator, and the posterior over its noise that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = new_generator()
        self.posterior = LatentCritic(layers=2, out=2 * NOISE_VALUES)

    def forward(self, latents: Tensor, ids: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction loss (L1 + MSE) and KL divergence in nats; `sample` [B, 16] is standard normal."""
        mean, log_deviation = self.posterior(latents, ids)[0].float().chunk(2, -1)
        log_deviation = log_deviation.clamp(-5, 2)
        divergence = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation).sum(-1).mean()
        drawn = self.generator(mean + log_deviation.exp() * sample, ids).float()
        return functional.l1_loss(drawn, latents) + functional.mse_loss(drawn, latents), divergence


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=5000)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model, critic = VariationalGenerator(), LatentCritic(layers=3, out=1)
    run = Run("gan", model, Plan(options.steps, learning_rate=1.2e-3, ema_decay=0.998), options.runs)
    critic_plan = Plan(options.steps, learning_rate=5e-4)
    critic_run = Run("gan-discriminator", critic, critic_plan, options.runs)
    batches = latent_batches(options.weights, BATCH, options.seed + 1_000_003 * run.step + 17)
    variational = compiled(model.forward, options)
    draw = compiled(model.generator.forward, options)

    def criticise(latents: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        picture, token = critic(latents, ids)
        return picture.float(), token.float()

    judge = compiled(criticise, options)

    def noisy(latents: Tensor) -> Tensor:
        return latents + INSTANCE_NOISE * torch.randn_like(latents)

    def hinge(values: tuple[Tensor, Tensor], sign: float) -> Tensor:
        return sum(functional.relu(1 - sign * value).mean() for value in values)  # type: ignore[return-value]

    def train_critic(latents: Tensor, ids: Tensor, drawn: Tensor) -> float:
        wrong = ids.roll(1, 0)
        real, fake = judge(noisy(latents), ids), judge(noisy(drawn), ids)
        mismatched = judge(noisy(latents), wrong)[0]
        loss = hinge(real, 1) + hinge(fake, -1) + 0.5 * functional.relu(1 + mismatched).mean()
        critic.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        for group in critic_run.optimiser.param_groups:
            group["lr"] = learning_rate(critic_plan, run.step)
        critic_run.optimiser.step()
        return float(loss.item())

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        latents, ids = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            reconstruction, divergence = variational(latents, ids, torch.randn(BATCH, NOISE_VALUES))
            warm = min(1.0, number / (KL_WARM_UP_SHARE * options.steps))
            loss = reconstruction + KL_WEIGHT * warm * divergence
            values = {"reconstruction": reconstruction.item(), "kl": divergence.item()}
            if number >= VAE_SHARE * options.steps:
                drawn = draw(torch.randn(BATCH, NOISE_VALUES), ids).float()
                values["critic"] = train_critic(latents, ids, drawn.detach())
                picture, token = judge(noisy(drawn), ids)
                loss = loss - ADVERSARIAL_WEIGHT * (picture.mean() + token.mean())
        return loss, values

    def finish() -> None:
        prefix = "generator."
        state = {k.removeprefix(prefix): v for k, v in run.ema_state().items() if k.startswith(prefix)}
        save_weights(model.generator, options.weights / "gan.safetensors", state)
        critic_run.step = run.step
        critic_run.checkpoint()

    run.train(step, finish)


if __name__ == "__main__":
    main()
