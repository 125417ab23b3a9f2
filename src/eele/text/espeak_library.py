"""The espeak-ng library by ctypes: loaded once, at the first call, its events collected.

The library comes in the pip package `espeakng_loader`. It keeps its voice and parameters in process-wide
globals and is not thread-safe: every use holds `lock` and sets the voice first.
"""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from eele.errors import MissingToolError

# Constants of espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
CHARS_UTF8 = 1
_EVENT_END, _EVENT_PHONEME = 0, 7
RATE, VOLUME, PITCH, RANGE, WORD_GAP = 1, 2, 3, 4, 7
IPA_MODE, SEPARATOR = 0x02, "_"


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_ubyte * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Library:
    """The loaded library with its sample rate and its collecting callback."""

    def __init__(self) -> None:
        try:
            import espeakng_loader

            self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
            self.data = Path(espeakng_loader.get_data_path())
        except (ImportError, OSError, RuntimeError) as error:
            raise MissingToolError(
                f"espeak-ng cannot be loaded ({error}); install the package espeakng-loader "
                "(pip install espeakng-loader) or set lexicon.source: dictionary"
            ) from error
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        self.rate_hz: int = self.lib.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, 0, str(self.data).encode(), options
        )
        if self.rate_hz <= 0:
            raise MissingToolError(
                f"espeak-ng found no voices in {self.data}; install the package espeakng-loader again"
            )
        self.lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self.lib.espeak_Info.restype = ctypes.c_char_p
        self.audio: list[bytes] = []
        self.events: list[tuple[str, int]] = []
        # The library keeps the pointer: the callback object must live as long as the library.
        self._callback = _Callback(self._collect)
        self.lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                raw = bytes(event.id.string).split(b"\0", 1)[0]
                self.events.append((raw.decode("utf-8", "ignore"), event.sample))
            index += 1
        if wave and count > 0:
            self.audio.append(ctypes.string_at(wave, count * 2))
        return 0


lock = threading.RLock()


@lru_cache(maxsize=1)
def _load() -> Library:
    return Library()


def load_library() -> Library:
    """The library, loaded at the first call; MissingToolError where it or its data is not there."""
    with lock:
        return _load()
