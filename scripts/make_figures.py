"""Draw the figures of the study."""

from eele.stage import run


def main(study, paths):
    from eele.reporting import make_figures

    make_figures(study, paths)


if __name__ == "__main__":
    run(main)
