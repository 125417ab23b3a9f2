"""Look up the phones of every word."""

from eele.stage import run


def main(study, paths):
    from eele.text import build_lexicon

    build_lexicon(study, paths)


if __name__ == "__main__":
    run(main)
