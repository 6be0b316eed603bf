from __future__ import annotations

import copy

import pytest
import timm
import torch

from ml.training.depthwise import slow_depthwise_in_float32


def test_depthwise_convolutions_in_float32_compute_the_same() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=0).train()
    changed = copy.deepcopy(plain)
    assert slow_depthwise_in_float32(changed) == 11, "those of stride 2 and of 5 x 5"
    assert slow_depthwise_in_float32(changed) == 0, "a second call finds them done"
    assert list(changed.state_dict()) == list(plain.state_dict())
    frames = torch.rand(4, 3, 64, 64)
    for network in (plain, changed):
        network(frames).square().mean().backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), changed.named_parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)


def test_they_stay_out_of_autocast_and_answer_in_the_dtype_they_were_asked_in() -> None:
    convolution = torch.nn.Conv2d(8, 8, 5, groups=8, bias=False)
    network = torch.nn.Sequential(convolution)
    assert slow_depthwise_in_float32(network) == 1
    x = torch.rand(2, 8, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x.bfloat16())
    assert y.dtype == torch.bfloat16
    expected = torch.nn.functional.conv2d(x.bfloat16().float(), convolution.weight, groups=8)
    assert torch.equal(y, expected.bfloat16())


def test_a_copy_computes_with_its_own_weights() -> None:
    network = torch.nn.Conv2d(4, 4, 3, stride=2, groups=4, bias=False)
    slow_depthwise_in_float32(network)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.weight.zero_()
    assert not other(torch.rand(1, 4, 8, 8)).any()
    assert network(torch.rand(1, 4, 8, 8)).any()


@pytest.mark.parametrize(("groups", "kernel", "stride"), [(1, 5, 1), (4, 3, 1)])
def test_other_convolutions_are_left_alone(groups: int, kernel: int, stride: int) -> None:
    assert slow_depthwise_in_float32(torch.nn.Conv2d(4, 4, kernel, stride, groups=groups)) == 0
