"""Fine-tune the neutral model on one emotion, as one cell says."""

from eele.stage import run


def main(study, paths, cell):
    from eele.training import train_cell

    train_cell(study, paths, cell)


if __name__ == "__main__":
    run(main, "cell")
