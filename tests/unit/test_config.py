"""The study config: defaults, merging, and one clear message for each mistake."""

import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError

from eele.config import StudyConfig, check_study, dump_study, load_study
from eele.config.load import merge
from eele.errors import ConfigError

LORA = {"method": "lora", "schemes": ["a"], "ranks": [2]}

MISTAKES = {
    "typo": ({"adaptaton": {"steps": 3}}, ["adaptaton", "did you mean 'adaptation'"]),
    "typo inside": ({"audio": {"hop": 3}}, ["audio.hop", "hop_size", "allowed here"]),
    "unknown emotion": ({"emotions": ["angryy"]}, ["emotions.0", "'angryy'", "'angry'", "'bored'"]),
    "neutral adapted": ({"emotions": ["neutral"]}, ["emotions", "neutral"]),
    "emotion nobody judges": (
        {"adaptation": {"emotions": ["angry"]}},
        ["adaptation.emotions", "angry", "not among the study's emotions (happy, sad)"],
    ),
    "emotions of neutral voices": (
        {"adaptation": {"emotions": ["sad"]}, "pretraining": {"leave_out": ["demo_a"]}},
        ["adaptation.emotions", "adapts to neutral voices"],
    ),
    "rate of no method": (
        {"adaptation": {"method_learning_rates": {"lara": 0.1}}},
        ["adaptation.method_learning_rates.lara", "unknown method 'lara'", "prefix"],
    ),
    "rate of full": (
        {"adaptation": {"method_learning_rates": {"full": 0.1}}},
        ["adaptation.method_learning_rates", "full_learning_rate"],
    ),
    "rate of nothing": (
        {"adaptation": {"method_learning_rates": {"prefix": 0}}},
        ["adaptation.method_learning_rates.prefix", "greater than 0"],
    ),
    "rank 0": (
        {"sweep": [{**LORA, "ranks": [0]}]},
        ["sweep.0.ranks.0", "got 0", "greater than or equal to 1"],
    ),
    "rank of text": ({"sweep": [{**LORA, "ranks": ["big"]}]}, ["sweep.0.ranks.0", "'big'"]),
    "lora without ranks": ({"sweep": [{"method": "lora", "schemes": ["a"]}]}, ["sweep.0", "ranks"]),
    "full with ranks": ({"sweep": [{"method": "full", "ranks": [2]}]}, ["sweep.0", "no ranks"]),
    "no such place": (
        {"sweep": [{"method": "prompt", "schemes": ["a", "e", "d"], "ranks": [2]}]},
        [
            "sweep.0.schemes: scheme 'e': prompt",
            "site 'duration'",
            "not part of the site",
            "take e, d out",
        ],
    ),
    "no place left": (
        {"sweep": [{"method": "prompt", "schemes": ["e"], "ranks": [2], "skip_impossible": True}]},
        ["sweep.0.schemes: scheme 'e': prompt", "no scheme of the block is left"],
    ),
    "full with budgets": (
        {"sweep": [{"method": "full", "budgets": ["2k"]}]},
        ["sweep.0", "no ranks or budgets"],
    ),
    "one size only": (
        {"sweep": [{"method": "ia3", "schemes": ["a"], "budgets": ["2k"]}]},
        ["sweep.0", "method ia3 has one size"],
    ),
    "lora without schemes": ({"sweep": [{"budgets": ["2k"]}]}, ["sweep.0", "needs schemes"]),
    "unknown method": ({"sweep": [{**LORA, "method": "lara"}]}, ["sweep.0.method", "'lara'"]),
    "unknown scheme": (
        {"sweep": [{**LORA, "schemes": ["z"]}]},
        ["sweep.0.schemes", "'z'", "a, b, c, d, e, f, g, h"],
    ),
    "unknown site": (
        {"schemes": {"mine": ["flow"]}},
        ["schemes.mine", "'flow'", "text_encoder, duration, variance, decoder"],
    ),
    "empty scheme": ({"schemes": {"mine": []}}, ["schemes.mine", "no site"]),
    "scheme renamed": ({"schemes": {"a": ["decoder"]}}, ["schemes.a", "another name"]),
    "unknown corpus": ({"corpora": [{"adapter": "tedlium"}]}, ["corpora.0.adapter", "'tedlium'"]),
    "same corpus twice": ({"corpora": [{}, {}]}, ["corpora", "'demo'", "name"]),
    "no corpus": ({"corpora": []}, ["corpora", "at least 1"]),
    "window over FFT": ({"audio": {"window_size": 2048}}, ["audio", "2048", "1024"]),
    "mel over Nyquist": ({"audio": {"mel_fmax_hz": 12000}}, ["audio", "12000", "22050"]),
    "f0 range": ({"features": {"f0_floor_hz": 600}}, ["features", "f0_floor_hz"]),
    "heads": ({"backbone": {"fastspeech2": {"heads": 3}}}, ["heads 3"]),
    "even kernel": ({"backbone": {"fastspeech2": {"kernel_size": 4}}}, ["kernel_size", "odd", "4"]),
    "path as name": ({"study": "../elsewhere"}, ["study", "../elsewhere"]),
    "section is a number": ({"audio": 3}, ["audio", "got 3"]),
    "dictionary without file": ({"lexicon": {"source": "dictionary"}}, ["lexicon", "dictionary"]),
    "mfa without model": (
        {"alignment": {"mfa": {"mode": "pretrained"}}},
        ["alignment.mfa", "acoustic_model"],
    ),
}


@pytest.mark.parametrize("values, said", MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_names_key_value_and_what_is_allowed(values, said):
    with pytest.raises(ConfigError) as raised:
        check_study(values, source="my.yaml")
    message = str(raised.value)
    assert message.startswith("my.yaml: ")
    for part in said:
        assert part in message


def test_all_mistakes_are_listed_at_once_and_each_once():
    with pytest.raises(ConfigError) as raised:
        check_study({"emotions": ["angryy"], "seeds": [-1]})
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert "angryy" in lines[0]
    assert "seeds.0" in lines[1]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="not found"):
        load_study(tmp_path / "none.yaml")
    damaged = tmp_path / "damaged.yaml"
    damaged.write_text("study: [1\n")
    with pytest.raises(ConfigError, match=r"damaged\.yaml: not valid YAML"):
        load_study(damaged)
    listing = tmp_path / "list.yaml"
    listing.write_text("- 1\n")
    with pytest.raises(ConfigError, match="found list"):
        load_study(listing)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load_study(binary)
    objects = tmp_path / "objects.yaml"
    objects.write_text("study: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_study(objects)


def test_an_empty_file_is_the_default_study(tmp_path):
    empty = tmp_path / "empty.yaml"
    empty.touch()
    assert load_study(empty) == StudyConfig()


def test_later_files_override_earlier_ones(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "study: a\nadaptation: {steps: 5, patience: 9}\nseeds: [1, 2]\n"
    )
    (tmp_path / "b.yaml").write_text("adaptation: {steps: 7}\nseeds: [3]\n")
    study = load_study(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert (study.study, study.adaptation.steps, study.adaptation.patience) == ("a", 7, 9)
    assert study.seeds == (3,)


def test_merge_leaves_its_arguments_alone():
    base = {"a": {"b": 1}}
    assert merge(base, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}


def test_a_resolved_config_is_the_same_study(tmp_path):
    study = check_study(
        {"study": "x", "schemes": {"mine": ["decoder"]}, "corpora": [{"root": "somewhere"}]}
    )
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_study(study))
    assert load_study(path) == study
    assert set(yaml.safe_load(path.read_text())) == set(StudyConfig.model_fields)


def test_a_study_is_frozen():
    with pytest.raises(ValidationError):
        StudyConfig().study = "other"


@pytest.mark.parametrize(
    "root, expected",
    [(None, "disk/demo"), ("mine", "disk/mine"), ("/absolute", "/absolute")],
)
def test_corpora_lie_below_data_root_unless_absolute(root, expected):
    study = check_study({"data_root": "disk", "corpora": [{"root": root}]})
    assert study.corpus_root(study.corpora[0]).as_posix() == expected


def test_reading_a_config_imports_nothing_heavy():
    code = (
        "import sys; import eele.config, eele.cells, eele.workflow, eele.locking, eele.provenance;"
        "print(*sorted({'torch', 'numpy', 'pandas', 'librosa', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == ""
