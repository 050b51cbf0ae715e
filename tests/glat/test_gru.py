"""The GRU as one operator: PyTorch's values and gradients, and a graph that does not grow with the frames."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from glat.backbones.gru import BiGRU, _bigru


def pair(B=3, T=7, in_channels=6, hidden=4):
    torch.manual_seed(0)
    layer = BiGRU(in_channels, hidden)
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return layer, torch.randn(B, T, in_channels, requires_grad=True)


def stacked(layer):
    names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
    return [torch.stack([getattr(layer, n), getattr(layer, n + "_reverse")]).detach() for n in names]


@pytest.mark.parametrize(("B", "T"), [(1, 1), (3, 2), (2, 30)])
def test_compiled_it_gives_the_values_and_gradients_of_eager(B, T):
    layer, x = pair(B, T)
    weight = torch.randn(B, T, 8)

    def run(forward):
        out = forward(x)
        return out, torch.autograd.grad((out * weight).sum(), [x, *layer.parameters()])

    values, gradients = run(layer)
    compiled, compiled_gradients = run(torch.compile(layer, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(compiled, values)
    torch.testing.assert_close(compiled_gradients, gradients, rtol=1e-4, atol=1e-5)


def test_gradient():
    layer, x = pair(2, 4, 3, 2)
    inputs = [t.double().requires_grad_() for t in (x.detach(), *stacked(layer))]
    assert torch.autograd.gradcheck(_bigru, inputs)


def test_the_operator_keeps_the_rules_of_torch_library():
    layer, x = pair()
    inputs = tuple(t.detach().requires_grad_() for t in (x, *stacked(layer)))
    torch.library.opcheck(_bigru, inputs)


@pytest.mark.parametrize("T", [2, 100])
def test_the_graph_does_not_grow_with_the_frames(T):
    layer, x = pair(2, T)
    nodes = []

    def count(graph, _):
        nodes.append(len(graph.graph.nodes))
        return make_boxed_func(graph.forward)

    torch.compile(layer, fullgraph=True, backend=aot_autograd(fw_compiler=count))(x).sum().backward()
    assert len(nodes) == 2, "forward and backward"
    assert max(nodes) < 100


def test_autocast_keeps_the_compiled_recurrence_in_float32():
    layer, x = pair()
    x = x.bfloat16()  # as a convolution under autocast leaves it
    with torch.autocast("cpu", torch.bfloat16):
        out = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, layer(x.float()))
