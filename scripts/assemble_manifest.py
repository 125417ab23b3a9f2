"""Unite the corpora in one manifest and split it by sentence."""

from eele.stage import run


def main(study, paths):
    from eele.corpora import assemble

    assemble(study, paths)


if __name__ == "__main__":
    run(main)
