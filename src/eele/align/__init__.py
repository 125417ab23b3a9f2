"""Forced alignment: phone times of every utterance, as TextGrids."""
