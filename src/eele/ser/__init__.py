"""Speech emotion recognition with parameter-efficient fine-tuning (PEFT-SER, arXiv 2306.05350).

Encoders of speech, a head on top, the methods of `eele.peft` in between, and testbeds with their folds.
"""
