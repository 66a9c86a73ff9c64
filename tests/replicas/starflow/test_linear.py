import pytest
import torch
from torch.nn import functional

from replicas.starflow.linear import Linear, halved, packed, takes_onednn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_product_is_that_of_pytorch(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    linear = Linear(40, 24, bias=bias).to(dtype)
    x = torch.randn(2, 3, 40).to(dtype)
    expected = functional.linear(
        x.double(), linear.weight.double(), None if linear.bias is None else linear.bias.double()
    )
    close = {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    with torch.no_grad():
        torch.testing.assert_close(linear(x).double(), expected, **close)
        torch.testing.assert_close(linear(x.transpose(0, 1)).double(), expected.transpose(0, 1), **close)
        for rows in (1, 2, 6):
            for many in (x, x[:1, :1]):
                product = packed(linear, rows)(many)
                assert product.dtype == dtype
                torch.testing.assert_close(product.double(), expected[: len(many), : many.shape[1]], **close)


def test_row_has_the_same_bits_alone_and_among_others() -> None:
    """What lets an item of a batch come out as it does alone."""
    torch.manual_seed(0)
    linear, x = Linear(64, 48), torch.randn(300, 64)
    with torch.no_grad():
        for multiply in (linear, packed(linear, 3), halved(linear)):
            whole = multiply(x)
            for rows in (2, 3, 96):
                assert torch.equal(multiply(x[:rows]), whole[:rows])
        assert torch.equal(packed(linear, 1)(x[:1]), linear(x)[:1])


def test_halved_product_is_rough_and_in_bfloat16() -> None:
    torch.manual_seed(0)
    linear, x = Linear(64, 48), torch.randn(5, 64)
    with torch.no_grad():
        rough, exact = halved(linear)(x), linear(x)
    assert rough.dtype == torch.bfloat16
    assert 1e-4 < float((rough - exact).norm() / exact.norm()) < 1e-2


def test_gradients_flow_where_they_are_wanted() -> None:
    linear, x = Linear(4, 3), torch.randn(2, 4, requires_grad=True)
    linear(x).sum().backward()
    assert linear.weight.grad is not None
    assert x.grad is not None
    assert not takes_onednn(x)
