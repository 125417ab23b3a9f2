"""Where everything of a study lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eele.cells import Cell


@dataclass(frozen=True)
class StudyPaths:
    """Paths below results/<study>/."""

    root: Path

    @classmethod
    def of(cls, study: str, results: str | Path = "results") -> StudyPaths:
        """Paths of the study named `study`."""
        return cls(Path(results) / study)

    @property
    def config(self) -> Path:
        return self.root / "config.resolved.yaml"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    def corpus(self, corpus: str) -> Path:
        """Folder of one corpus: manifest.csv, clean/ (audio), clean.csv, rejected.csv, summary.json."""
        return self.root / "corpora" / corpus

    @property
    def manifest(self) -> Path:
        """All accepted utterances of all corpora, with splits."""
        return self.root / "manifest.csv"

    @property
    def rejected(self) -> Path:
        return self.root / "rejected.csv"

    @property
    def lexicon(self) -> Path:
        return self.root / "lexicon" / "lexicon.tsv"

    @property
    def phones(self) -> Path:
        """Phone inventory: JSON list; position = phone id."""
        return self.root / "lexicon" / "phones.json"

    @property
    def alignment(self) -> Path:
        """Folder with textgrids/<speaker>/<utterance_id>.TextGrid, alignment.csv, summary.json, models/, shard~<i>/."""
        return self.root / "alignment"

    @property
    def features(self) -> Path:
        """Folder with shard~<i>/, index.csv and statistics.json."""
        return self.root / "features"

    @property
    def neutral(self) -> Path:
        """Folder of the neutral model: model.safetensors, model.json, curves.csv, provenance.json."""
        return self.root / "neutral"

    @property
    def vocoder(self) -> Path:
        """Folder of the trained vocoder: model.safetensors, model.json, critic.safetensors, curves.csv."""
        return self.root / "vocoder"

    def judge(self, judge: str) -> Path:
        return self.root / "judges" / judge

    def encoder(self, name: str) -> Path:
        """Folder of a prepared speech encoder: model.safetensors, model.json, utterances.txt, curves.csv."""
        return self.root / "encoders" / name

    def testbed(self, name: str) -> Path:
        """Folder of one testbed's folds: folds.csv, which utterance stands in which part of which."""
        return self.root / "testbeds" / name

    def recognition(self, cell: Path) -> Path:
        """Folder of one recogniser of emotion; `cell` is a `RecognitionCell`'s path."""
        return self.root / "recognition" / cell

    @property
    def recogniser(self) -> Path:
        """Folder of the phone recogniser: model.safetensors, model.json."""
        return self.root / "recogniser"

    @property
    def checkpoints(self) -> Path:
        """Resumable state of unfinished training runs; never a declared output of a rule."""
        return self.root / "checkpoints"

    def cell(self, cell: Cell) -> Path:
        return self.root / "cells" / cell.path

    def combining(self, name: str) -> Path:
        """Folder of one mixture of adapters: neutral/, <point>/ (speech), utterances.csv, points.csv."""
        return self.root / "combining" / name

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "report" / "index.html"

    @property
    def benchmarks(self) -> Path:
        """Snakemake benchmark files, one per job."""
        return self.root / "benchmarks"

    @property
    def logs(self) -> Path:
        return self.root / "logs"
