"""Bring the recordings of one corpus to one sample rate, trimmed and levelled."""

from eele.stage import run


def main(study, paths, corpus):
    from eele.corpora import clean

    clean(study, paths, corpus)


if __name__ == "__main__":
    run(main, "corpus")
