"""Find the phone times of every utterance."""

from eele.stage import run


def main(study, paths, threads):
    from eele.align import align

    align(study, paths, jobs=threads)


if __name__ == "__main__":
    run(main, "threads")
