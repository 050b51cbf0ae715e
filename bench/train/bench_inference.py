"""Inference on 10 s clips on a CPU: a network prepared by `for_inference` against the same network as built.

Further competitors: PANNs' way (bench/panns.py), and the network as built, in channels_last.
"""

from copy import deepcopy
from typing import Any

import pytest
import torch

from glat.backbones import build
from glat.inference import for_inference

from ..panns import PannsWay
from ..work import network_work

SUBJECT = "inference"


@pytest.mark.guarded
@pytest.mark.parametrize("width", [0.25, 1.0])
@pytest.mark.parametrize("name", ["cnn10", "resnet38", "talnet"])
@torch.no_grad()
def test_inference(name: str, width: float, benchmark: Any, race: Any) -> None:
    torch.manual_seed(0)
    B = 4
    plain = build(name, 527, width)
    wave = 0.1 * torch.randn(B, 10 * plain.sample_rate_hz)
    plain.train()(wave)  # batch norm takes its statistics
    plain.eval()
    networks = {
        "folded": for_inference(plain),
        "plain": plain,
        "channels_last": deepcopy(plain).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
    }
    if name != "talnet":
        networks["PANNs' way"] = PannsWay(plain).eval()  # type: ignore[arg-type]
    wanted = plain(wave)
    for network in networks.values():
        torch.testing.assert_close(network(wave), wanted, rtol=1e-5, atol=1e-5)
    competitors = {key: lambda network=network: network(wave) for key, network in networks.items()}
    work = network_work(plain, wave, lambda: plain(wave), gradients=False)
    finished = race(f"{name} width {width:g} B={B}", competitors, work=work)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["folded"], rounds=1)
    if name != "talnet":
        # ResNet38 in full spends its time in convolutions, at what the CPU can multiply; there is less to leave out.
        finished.promise("folded", 1.0 if (name, width) == ("resnet38", 1.0) else 1.2, "plain")
