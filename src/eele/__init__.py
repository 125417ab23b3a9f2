"""eele: find where in a speech synthesiser emotion lives, and plug it in with small adapters."""

__version__ = "0.1.0"
