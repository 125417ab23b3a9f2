"""Find the recordings, transcripts and labels of one corpus."""

from eele.stage import run


def main(study, paths, corpus):
    from eele.corpora import collect

    collect(study, paths, corpus)


if __name__ == "__main__":
    run(main, "corpus")
