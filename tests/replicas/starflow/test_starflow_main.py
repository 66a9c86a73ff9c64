from pathlib import Path

import pytest
from PIL import Image

from replicas.starflow.__main__ import main


def test_describe_tells_parameters_sizes_and_memory(
    released_flow_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = str(released_flow_folder / "tiny.yaml")
    assert main(["describe", configuration, "--dtype", "bfloat16", "--device", "cpu", "--text-width", "24"]) == 0
    said = capsys.readouterr().out
    # 4 layers of 2 · 2 · 64 in norms, 64 · 192 + 192 + 64 · 64 + 64 in attention, 8 · 64² + 5 · 64 in the MLP; 3 blocks
    # of 4 · 64 + 64, 64 · 8 + 8, 4 and 64; text of 24 · 64 + 64.
    expected = 4 * (256 + 16640 + 33088) + 3 * (320 + 520 + 4 + 64) + 1600
    assert f"parameters        {expected:,}\n" in said
    assert "64 x 64 (1:1)" in said
    assert "40 x 96 (21:9)" in said
    assert "in bfloat16" in said
    rows = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in said.splitlines()[-3:]}
    assert set(rows) == {"draft", "standard", "exact"}
    assert all(needs == sorted(needs) for needs in rows.values())


def test_describe_of_a_file_that_is_none_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.yaml").write_text("a: b")
    assert main(["describe", str(tmp_path / "no.yaml")]) == 2
    assert "a released configuration holds `arguments:`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--device", "cudaa"], "device 'cudaa' is unknown"),
        (["--device", "cuda:99"], "device 'cuda:99': this machine has"),
        (["--seed", "-1"], "argument --seed: '-1'; allowed: a whole number from 0"),
        (["--seed", str(2**63)], "allowed: a whole number from 0 to 2"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["draw", "a cat", "--out", str(tmp_path / "cat.png"), *given])
    except SystemExit as ended:  # how argparse ends
        status = ended.code
    assert status == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_draw_then_likelihood(
    released_flow_folder: Path,
    t5_folder: Path,
    autoencoder_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = ["--model", released_flow_folder, "--text-encoder", t5_folder, "--autoencoder", autoencoder_folder]
    model, picture = [str(part) for part in parts], str(tmp_path / "cat.png")
    assert main(["draw", "a cat, longer than that", "--out", picture, "--preset", "draft", *model]) == 0
    assert "only its beginning was read" in capsys.readouterr().err
    with Image.open(picture) as drawn:
        assert drawn.size == (64, 64)
    assert main(["likelihood", picture, "a cat", *model]) == 0
    said = capsys.readouterr().out
    assert "bits a dimension of 256" in said
    assert main(["draw", "a cat", "--out", picture, "--aspect", "4:3", *model]) == 2
    assert main(["draw", "a cat", "--out", picture, "--guidance", "-1", *model]) == 2
    assert "guidance is -1.0; allowed" in capsys.readouterr().err
