"""Speak the test sentences with one cell."""

from eele.stage import run


def main(study, paths, cell):
    from eele.synthesis import synthesise_cell

    synthesise_cell(study, paths, cell)


if __name__ == "__main__":
    run(main, "cell")
