"""`select_crops` in a model that has nothing else of glat: a second look at the moments that a first look points to.

The selector is one operator: a launch on a GPU, a C++ kernel on a CPU. It compiles without a graph break, needs no host
sync, and passes gradients on to the waveform; which crops it takes is not differentiable.

python examples/select_crops.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glat.kernels import select_crops


class TwoLooks(nn.Module):
    """Waveforms [B, S] to logits of L classes, of the whole and of the N moments where its best classes peak."""

    def __init__(self, num_classes: int, num_crops: int = 3, crop_samples: int = 4_000) -> None:
        super().__init__()
        self.num_crops, self.crop_samples = num_crops, crop_samples
        self.first = self.network(num_classes)
        self.second = self.network(num_classes)

    @staticmethod
    def network(num_classes: int) -> nn.Module:
        """Waveforms [B, 1, S] to logits of frames [B, L, T]."""
        return nn.Sequential(
            nn.Conv1d(1, 32, 400, stride=160),
            nn.ReLU(),
            nn.Conv1d(32, 64, 5, stride=4),
            nn.ReLU(),
            nn.Conv1d(64, num_classes, 1),
        )

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, L] of the whole, and of its crops."""
        frame_logits = self.first(wave[:, None]).mT  # [B, T, L]
        whole = frame_logits.logsumexp(1) - torch.tensor(float(frame_logits.shape[1])).log()
        crops = select_crops(
            whole.detach(), frame_logits.detach(), wave, num_crops=self.num_crops, crop_samples=self.crop_samples
        )
        again = self.second(crops.audio.flatten(0, 1)[:, None]).amax(2)  # [B * N, L]
        return whole, again.unflatten(0, (-1, self.num_crops)).amax(1)


def clips(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise of 2 s at 8 kHz, in half of it a short tone of one of four pitches: waves [B, S], targets [B, L]."""
    wave = 0.1 * torch.randn(count, 16_000, generator=generator)
    targets = torch.zeros(count, 4)
    seconds = torch.arange(2_000) / 8_000
    for i in range(0, count, 2):
        k, start = (int(torch.randint(n, (), generator=generator)) for n in (4, 14_000))
        wave[i, start : start + 2_000] += 0.3 * torch.sin(2 * torch.pi * 400 * 2**k * seconds)
        targets[i, k] = 1
    return wave, targets


def main(steps: int = 60) -> tuple[float, float]:
    """Train for some steps; the first loss and the mean of the last five."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = TwoLooks(num_classes=4)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(steps):
        wave, targets = clips(32, generator)
        whole, again = model(wave)
        loss = F.binary_cross_entropy_with_logits(whole, targets) + F.binary_cross_entropy_with_logits(again, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}: loss {losses[-1]:.3f}")
    return losses[0], sum(losses[-5:]) / 5


if __name__ == "__main__":
    print("loss {:.3f} at first, {:.3f} at last".format(*main()))
