"""Write the page of the study."""

from eele.stage import run


def main(study, paths):
    from eele.reporting import make_page

    make_page(study, paths)


if __name__ == "__main__":
    run(main)
