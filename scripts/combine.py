"""Plug adapters together and measure what each mixture says."""

from eele.stage import run


def main(study, paths, mixture):
    from eele.combining import combine

    combine(study, paths, mixture)


if __name__ == "__main__":
    run(main, "mixture")
