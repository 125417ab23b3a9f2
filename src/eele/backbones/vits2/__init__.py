"""VITS2 (Kong et al., arXiv 2307.16430) and its parts."""
