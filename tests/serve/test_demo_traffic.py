import pytest

from serve.demo_prompts import draw_prompts
from serve.demo_traffic import GatewayAway, PromptsFail, Traffic, retry_after_s

PROMPTS = draw_prompts(20, 5, seed=0)


class Clock:
    """Time passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def traffic(fake_gateway, clock):
    with Traffic(fake_gateway.url, "high", sleep=clock.sleep, clock=clock) as traffic:
        yield traffic


def test_request_carries_caption_model_quality_and_seed(traffic, fake_gateway) -> None:
    assert traffic.send(PROMPTS[0], "auto")
    (asked,) = fake_gateway.asked
    assert asked["prompt"] == PROMPTS[0].scene.caption
    assert (asked["model"], asked["quality"], asked["seed"]) == ("auto", "high", PROMPTS[0].seed)
    assert traffic.arms() == ("one@fast", "two@fine")


def test_quality_that_arrives_later_fills_the_row(traffic, fake_gateway) -> None:
    traffic.send(PROMPTS[0], "auto")
    assert traffic.rows == []
    traffic.send(PROMPTS[1], "two@fine")
    traffic.settle(30.0)
    first, second = traffic.rows
    assert (first.arm, first.quality, first.by_router) == ("one@fast", 0.5, True)
    assert (second.arm, second.quality, second.by_router) == ("two@fine", 0.75, False)
    assert first.utility == pytest.approx(0.5 - 0.1 * 0.5 - 100 * 0.001)
    assert traffic.images[first.decision_id].startswith(b"\x89PNG")


def test_quality_that_never_comes_leaves_the_row_without(traffic, fake_gateway, clock) -> None:
    fake_gateway.quality["one@fast"] = None
    traffic.send(PROMPTS[0], "auto")
    traffic.settle(3.0)
    (row,) = traffic.rows
    assert row.quality is None
    assert row.utility is None
    assert sum(clock.slept) >= 3.0


@pytest.mark.parametrize("status", [429, 503])
def test_busy_gateway_is_asked_again_after_its_retry_after(traffic, fake_gateway, clock, status: int) -> None:
    fake_gateway.refusals = [(status, {"retry-after": "7"}), (status, {})]
    assert traffic.send(PROMPTS[0], "auto")
    assert clock.slept == [7.0, 1.0]
    assert traffic.put_off == 2


def test_prompt_is_given_up_when_the_gateway_stays_busy(traffic, fake_gateway, clock) -> None:
    fake_gateway.refusals = [(429, {"retry-after": "25"})] * 3
    assert not traffic.send(PROMPTS[0], "auto")
    assert clock.slept == [25.0, 25.0]
    assert traffic.failed == {"429 made_up": 1}


def test_failed_prompt_is_counted_and_ten_in_a_row_end_it(traffic, fake_gateway) -> None:
    fake_gateway.refusals = [(500, {})] * 9
    for prompt in PROMPTS[:9]:
        traffic.send(prompt, "auto")
    assert traffic.failed == {"500 made_up": 9}
    traffic.send(PROMPTS[9], "auto")
    fake_gateway.refusals = [(504, {})] * 10
    for prompt in PROMPTS[:9]:
        traffic.send(prompt, "auto")
    with pytest.raises(PromptsFail, match=r"504 made_up \(10x\)"):
        traffic.send(PROMPTS[9], "auto")


def test_refused_request_ends_it_at_once_with_the_gateways_words(traffic, fake_gateway) -> None:
    fake_gateway.refusals = [(400, {})]
    with pytest.raises(PromptsFail, match="refuses"):
        traffic.send(PROMPTS[0], "auto")


def test_gateway_that_goes_away_is_said_in_one_line(traffic, fake_gateway) -> None:
    fake_gateway.stop_after = 0
    with pytest.raises(GatewayAway, match="does not answer") as caught:
        traffic.send(PROMPTS[0], "auto")
    assert "\n" not in str(caught.value)
    with pytest.raises(GatewayAway):
        traffic.health()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0", 0.0), (None, 1.0), ("-1", 1.0), ("nan", 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds
