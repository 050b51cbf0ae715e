"""Bytes and FLOP of each task, against counts by hand."""

import torch

from bench.work import (
    bootstrap_work,
    clip_work,
    log_mel_work,
    network_work,
    samples_inside,
    select_crops_step_work,
    select_crops_work,
    spec_augment_work,
)


def test_work_is_what_a_hand_counts():
    # B = 2, S = 50, T = 3, L = 7, N = 2, W = 10: 40 samples cut, 14 rank scores, 12 frame scores.
    assert select_crops_work(2, 50, 3, 7, 2, 10).bytes == 40 * 8 + 26 * 4
    assert select_crops_work(2, 50, 3, 7, 2, 10, wave_bytes=2).bytes == 40 * 6 + 26 * 4
    assert select_crops_work(2, 15, 3, 7, 2, 10).bytes == 30 * 4 + 40 * 4 + 26 * 4  # a sample is read once
    assert select_crops_work(2, 50, 3, 7, 2, 10, inside=33).bytes == 33 * 4 + 40 * 4 + 26 * 4
    assert select_crops_step_work(2, 50, 3, 7, 2, 10, 33).bytes == 73 * 4 + 26 * 4 + (40 + 100) * 4
    assert samples_inside(torch.tensor([[30, 0, 4], [7, 7, 50]]), 10) == (14 + 10) + (10 + 10)
    assert bootstrap_work(5, 3, 2).bytes == 15 * 5 + 10 * 4 + 12 * 8
    assert (clip_work(100, 8, 2).bytes, clip_work(100, 8, 2).flop) == (116, 0)
    resampled = clip_work(100, 8, 4, source_samples=16, clips=3)
    assert (resampled.bytes, resampled.flop) == (3 * 132, 3 * 2.5 * (16 * 4 + 8 * 3))
    assert spec_augment_work(2, 5, 4).bytes == 2 * 40 * 4
    mel = log_mel_work(1, 640, hop_samples=320, fft_samples=8, mel_bins=2)  # 3 hops, 5 bins of an 8-point DFT
    assert mel.bytes == 4 * (640 + 3 * 2)
    assert mel.flop == 3 * (2.5 * 8 * 3 + 3 * 5 + 2 * 5 * 2)


def test_a_networks_work_counts_its_products_and_its_weights():
    network, x = torch.nn.Linear(5, 7, bias=False), torch.randn(3, 5, requires_grad=True)
    forward = network_work(network, x, lambda: network(x), gradients=False)
    assert (forward.flop, forward.bytes) == (2 * 3 * 5 * 7, 4 * (15 + 35))
    both = network_work(network, x, lambda: network(x).sum().backward(), gradients=True)
    assert (both.flop, both.bytes) == (3 * 2 * 3 * 5 * 7, 4 * (15 + 2 * 35))
    network.requires_grad_(False)
    frozen = network_work(network, x, lambda: network(x).sum().backward(), gradients=True)
    assert (frozen.flop, frozen.bytes) == (2 * 2 * 3 * 5 * 7, 4 * (15 + 35))
