"""Train the vocoder."""

from eele.stage import run


def main(study, paths):
    from eele.vocoders import train_vocoder

    train_vocoder(study, paths)


if __name__ == "__main__":
    run(main)
