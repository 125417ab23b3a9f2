"""`eele status`: how far a study is, from any shell, while its workflow runs or afterwards."""

from eele.status.collecting import Failure, Status, collect

__all__ = ["Failure", "Status", "collect"]
