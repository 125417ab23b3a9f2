"""Train one emotion recogniser on recordings."""

from eele.stage import run


def main(study, paths, judge):
    from eele.judges import train

    train(study, paths, judge)


if __name__ == "__main__":
    run(main, "judge")
