"""Train the aligner on the study's speech, or check the pretrained one."""

from eele.stage import run


def main(study, paths, threads):
    from eele.align import train_aligner

    train_aligner(study, paths, jobs=threads)


if __name__ == "__main__":
    run(main, "threads")
