"""Write the tables of the study."""

from eele.stage import run


def main(study, paths):
    from eele.reporting import make_tables

    make_tables(study, paths)


if __name__ == "__main__":
    run(main)
