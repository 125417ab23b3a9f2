"""Train the neutral model."""

from eele.stage import run


def main(study, paths):
    from eele.training import pretrain

    pretrain(study, paths)


if __name__ == "__main__":
    run(main)
