"""Score the speech of one cell."""

from eele.stage import run


def main(study, paths, cell):
    from eele.metrics import score_cell

    score_cell(study, paths, cell)


if __name__ == "__main__":
    run(main, "cell")
