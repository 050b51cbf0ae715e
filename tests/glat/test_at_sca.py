"""AT-SCA (reconstruction): CNN10 at the start, little more than it in size, and gates that open and close."""

import pytest
import torch

from glat.backbones import ATSCA, build
from glat.backbones.at_sca import SpatialChannelAttention
from glat.errors import UserError


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def noise(seconds=1):
    return 0.1 * torch.randn(2, 32_000 * seconds, generator=torch.Generator().manual_seed(0))


def test_says_that_it_is_a_reconstruction():
    assert "AT-SCA (reconstruction)" in ATSCA.__doc__


def test_the_attention_costs_less_than_a_hundredth():
    with torch.device("meta"):
        added = parameters(build("at_sca")) - parameters(build("cnn10"))
    assert added == 43_936
    assert added < 0.01 * 5_219_279


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_with_the_weights_of_cnn10_it_starts_as_cnn10(mode):
    cnn10, network = build("cnn10", 7, 0.1), build("at_sca", 7, 0.1)
    for net in (cnn10, network):
        net.dropout_scale, net.spec_augment = 0.0, False
    loaded = network.load_state_dict(cnn10.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    assert {key.split(".")[0] for key in loaded.missing_keys} == {"sca1", "sca2", "sca3", "sca4"}
    wave = noise()
    assert torch.equal(network.train(mode == "train")(wave), cnn10.train(mode == "train")(wave))


def test_training_moves_every_gate_away_from_the_identity():
    torch.manual_seed(0)
    network = build("at_sca", 7, 0.25)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(2):
        network(noise()).square().sum().backward()
        optimiser.step()
    for name in ("excite", "region", "onset"):
        assert all(getattr(getattr(network, f"sca{i}"), name).weight.abs().sum() > 0 for i in range(1, 5)), name
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_the_gates_are_products_of_what_where_and_when():
    torch.manual_seed(0)
    layer = SpatialChannelAttention(8, reduction=4, identity_start=False)
    x = torch.randn(2, 8, 6, 5).relu()
    with torch.no_grad():
        out = layer(x)
        mlp = lambda s: layer.excite(layer.squeeze(s).relu())  # noqa: E731  # one line says what it is
        y = x * (mlp(x.mean((2, 3))) + mlp(x.amax((2, 3)))).sigmoid()[:, :, None, None]
        where = layer.region(torch.stack([y.mean(1), y.amax(1)], 1)).sigmoid()
        when = layer.onset(torch.stack([y.mean((1, 3)), y.amax((1, 3))], 1)).sigmoid()
    torch.testing.assert_close(out, y * where * when[..., None])


def test_attention_in_some_blocks_only():
    network = ATSCA(7, 0.1, blocks=(4,), reduction=2, identity_start=False).eval()
    assert [name for name, _ in network.named_children() if name.startswith("sca")] == ["sca4"]
    plain = build("cnn10", 7, 0.1).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("sca")})
    assert not torch.allclose(network(noise()), plain(noise()))


@pytest.mark.parametrize(
    ("arguments", "said"), [({"reduction": 0}, "reduction is 0"), ({"blocks": (5,)}, "blocks is \\(5,\\)")]
)
def test_bad_input_is_named(arguments, said):
    with pytest.raises(UserError, match=said):
        ATSCA(7, 0.1, **arguments)
