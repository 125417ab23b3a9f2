"""Find the phone times of every utterance."""

from eele.stage import run


def main(study, paths):
    from eele.align import align

    align(study, paths)


if __name__ == "__main__":
    run(main)
