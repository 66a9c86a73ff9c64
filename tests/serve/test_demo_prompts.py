from collections import Counter

from replicas.scenes.prompts import KINDS, Asked
from serve.demo_prompts import draw_prompts


def test_prompts_hold_every_kind_equally_often_and_are_all_held_out() -> None:
    prompts = draw_prompts(100, 30, seed=1)
    assert Counter(prompt.scene.kind for prompt in prompts) == dict.fromkeys(KINDS, 20)
    assert [prompt.number for prompt in prompts] == list(range(100))
    for prompt in prompts:
        scene = prompt.scene
        indices = tuple(placed.index for placed in scene.objects)
        assert Asked(scene.kind, indices, scene.background, scene.relation).held_out(scene.caption)


def test_measured_prompts_are_distinct_and_were_not_sent_before() -> None:
    """400 prompts hold 80 counts, and only some 60 captions of counts are held out."""
    prompts = draw_prompts(400, 120, seed=0)
    before = {prompt.scene.caption for prompt in prompts[:-120]}
    measured = [prompt.scene.caption for prompt in prompts[-120:]]
    assert len(set(measured)) == 120
    assert before.isdisjoint(measured)


def test_prompts_of_the_same_seed_are_the_same_and_of_another_are_not() -> None:
    assert draw_prompts(50, 10, seed=3) == draw_prompts(50, 10, seed=3)
    assert draw_prompts(50, 10, seed=3) != draw_prompts(50, 10, seed=4)


def test_prompts_go_on_when_the_captions_run_out() -> None:
    assert len(draw_prompts(600, 600, seed=0)) == 600
