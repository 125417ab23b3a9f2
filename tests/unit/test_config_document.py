"""The documented default YAML and the schema are made from the models, and in step with them."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from eele.config import StudyConfig, load_study
from eele.config.document import default_yaml, main, schema_json

CONFIG = Path(__file__).parents[2] / "config"
STUDIES = sorted((CONFIG / "studies").glob("*.yaml"))


def test_shipped_files_are_in_step_with_the_models():
    hint = "run `make config`"
    assert (CONFIG / "config.yaml").read_text(encoding="utf-8") == default_yaml(), hint
    assert (CONFIG / "schema.json").read_text(encoding="utf-8") == schema_json(), hint


def test_the_documented_yaml_is_the_default_study_with_every_key():
    assert load_study(CONFIG / "config.yaml") == StudyConfig()
    documented = yaml.safe_load(default_yaml())
    assert set(documented) == set(StudyConfig.model_fields)
    assert set(documented["adaptation"]) == set(StudyConfig().adaptation.model_dump())


def test_every_key_has_a_description():
    def undescribed(schema, at=""):
        for name, entry in schema.get("properties", {}).items():
            if "description" not in entry:
                yield f"{at}{name}"

    schema = json.loads(schema_json())
    missing = list(undescribed(schema))
    for name, part in schema["$defs"].items():
        missing += undescribed(part, f"{name}.")
    assert missing == []


def test_lines_stay_readable():
    assert max(map(len, default_yaml().splitlines())) <= 100


@pytest.mark.parametrize("path", [CONFIG / "config.yaml", *STUDIES], ids=lambda path: path.stem)
def test_shipped_studies_fit_schema_and_models(path):
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), json.loads(schema_json()))
    study = load_study(path)
    assert study.study == ("demo" if path.stem == "config" else path.stem)


def test_the_schema_refuses_what_the_models_refuse():
    schema = json.loads(schema_json())
    for wrong in ({"adaptaton": {}}, {"emotions": ["angryy"]}, {"adaptation": {"steps": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_writing_both_files(tmp_path):
    main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "schema.json"]
