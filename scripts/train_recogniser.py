"""Train the phone recogniser on recordings."""

from eele.stage import run


def main(study, paths):
    from eele.metrics.recogniser import train

    train(study, paths)


if __name__ == "__main__":
    run(main)
