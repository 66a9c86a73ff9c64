"""Words to ids: unknown, empty, and too many."""

import torch

from replicas.text import EMPTY, MAX_WORDS, PAD, UNKNOWN, WordEncoder, WordTokenizer, drop_text


def test_tokenizer_unknown_words_and_punctuation():
    ids = WordTokenizer()(["A cat, quasar!"])[0]
    tokenizer = WordTokenizer()
    assert ids[:3].tolist() == [tokenizer.ids["a"], tokenizer.ids["cat"], UNKNOWN]
    assert (ids[3:] == PAD).all()


def test_tokenizer_empty_and_symbols_only_are_empty():
    assert WordTokenizer()(["", "?!"])[:, 0].tolist() == [EMPTY, EMPTY]


def test_tokenizer_long_prompt_is_cut():
    ids = WordTokenizer()(["cat " * 100])
    assert ids.shape == (1, MAX_WORDS)
    assert (ids != PAD).all()
    assert WordTokenizer().cut(["cat " * 14, "cat " * 15, ""]) == [False, True, False]


def test_encoder_ignores_padding():
    torch.manual_seed(0)
    encoder = WordEncoder(32, 2, 2, 200).eval()
    ids = torch.randint(3, 200, (1, MAX_WORDS))
    ids[:, 4:] = PAD
    with torch.no_grad():
        before = encoder(ids)[:, :4]
        encoder.position[4:] += 1
        after = encoder(ids)[:, :4]
    torch.testing.assert_close(before, after)


def test_drop_text_replaces_whole_rows():
    torch.manual_seed(0)
    ids = WordTokenizer()(["a cat"] * 400)
    dropped = drop_text(ids, 0.25)
    empty = dropped[:, 0] == EMPTY
    assert 60 < int(empty.sum()) < 140
    assert (dropped[empty][:, 1:] == PAD).all()
    assert (dropped[~empty] == ids[0]).all()
