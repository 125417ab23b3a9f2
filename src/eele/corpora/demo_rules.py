"""Voices of the generated corpus and the prosodic rules that make its emotions.

Where the rules come from. The *directions* (faster or slower, higher or lower, wider or narrower, louder
or softer, brighter, breathier, trembling) follow the rules that formant synthesis was given emotion by,
and the reviews of acoustic correlates they rest on:

* Cahn, "The generation of affect in synthesized speech", Journal of the American Voice I/O Society 8
  (1990): accent shape, pitch range, speech rate, loudness, breathiness and brilliance per emotion;
* Murray & Arnott, "Toward the simulation of emotion in synthetic speech", JASA 93(2) (1993): review of
  rate, pitch average and range, intensity and voice quality; "Implementation and testing of a system for
  producing emotion-by-rule in synthetic speech", Speech Communication 16 (1995);
* Burkhardt & Sendlmeier, "Verification of acoustical correlates of emotional speech using
  formant-synthesis", ISCA Workshop on Speech and Emotion (2000);
* Schröder, "Emotional speech synthesis: a review", Eurospeech (2001), which tabulates the three.

The *numbers* are ours, not theirs: chosen so that each emotion differs from neutral in several measures
and from every other emotion in at least two. This is a test signal with a known answer, no claim about
how people sound. `calm` and `bored` are ours in the same spirit (less of everything; Burkhardt &
Sendlmeier treat boredom: slow, low, narrow).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker: an espeak-ng variant without echo (an echo fills the closures of plosives)."""

    speaker: str
    espeak: str
    rate_wpm: int
    gender: str
    #: Gain above 1.5 kHz in every emotion, for variants whose upper formants are faint.
    tilt_db: float = 0.0


#: Different in sex, formants and mean F0 (about 103, 183, 172 and 92 Hz in neutral). Chosen also for a
#: pitch that trackers follow: rough variants such as f1 are heard an octave low every tenth frame.
VOICES = (
    Voice("mark", "en-us+m3", 150, "male"),
    Voice("steph", "en-us+steph", 154, "female", tilt_db=7.0),
    Voice("anna", "en-us+aunty", 148, "female"),
    Voice("miles", "en-us+m1", 160, "male"),
)


@dataclass(frozen=True)
class Rule:
    """How one emotion is spoken; neutral is a Rule without arguments.

    rate: factor on the tempo. pitch: espeak-ng pitch, 50 = the voice's own, 50 steps are about an octave
    at the lower edge of the range. pitch_range: espeak-ng range, 50 = the voice's own (it is in Hz, so a
    higher voice needs a larger value for the same semitones). gain_db: level. tilt_db: gain above
    1.5 kHz, the level kept. breath_db: level of breath noise under the voice, None = none.
    tremor_st: depth of a 6.5 Hz tremor of the pitch. rising: spoken as a question.
    """

    rate: float = 1.0
    pitch: int = 50
    pitch_range: int = 50
    gain_db: float = 0.0
    tilt_db: float = 0.0
    breath_db: float | None = None
    tremor_st: float = 0.0
    rising: bool = False


RULES = {
    "neutral": Rule(),
    # Murray & Arnott; Burkhardt & Sendlmeier: much higher, much wider, faster, somewhat louder.
    "happy": Rule(rate=1.12, pitch=68, pitch_range=95, gain_db=2.0, tilt_db=3.0),
    # All four: slower, lower or level, narrower, softer, less brilliant; breathy (Cahn).
    "sad": Rule(rate=0.80, pitch=42, pitch_range=18, gain_db=-5.0, tilt_db=-8.0, breath_db=-38.0),
    # Cahn; Murray & Arnott: louder, faster, tense and bright, wider, pitch above neutral.
    "angry": Rule(rate=1.18, pitch=56, pitch_range=80, gain_db=6.0, tilt_db=9.0),
    # Burkhardt & Sendlmeier; Murray & Arnott: very much higher, much faster, irregular voicing.
    "fearful": Rule(
        rate=1.30, pitch=80, pitch_range=85, tilt_db=-2.0, breath_db=-36.0, tremor_st=0.6
    ),
    # Cahn; Murray & Arnott: higher, very wide, rising; tempo little changed.
    "surprised": Rule(rate=0.98, pitch=70, pitch_range=100, gain_db=2.0, tilt_db=1.0, rising=True),
    # Murray & Arnott: very much slower and lower, softer, slightly wider.
    "disgusted": Rule(rate=0.72, pitch=28, pitch_range=62, gain_db=-2.0, tilt_db=3.0),
    "bored": Rule(rate=0.76, pitch=38, pitch_range=8, gain_db=-3.0, tilt_db=-3.0),
    "calm": Rule(rate=0.90, pitch=45, pitch_range=35, gain_db=-4.0, tilt_db=-4.0),
}


def generator(*names: object) -> np.random.Generator:
    """A random generator seeded by a hash of `names`: the same on every machine and in every order."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
